// scimmy with its routers and nothing but maps as storage: node scimmy.mjs PORT TOKEN
import { createRequire } from "node:module";
import { join } from "node:path";
const require = createRequire(join(process.cwd(), "x.js")); // the packages are where it is started
const express = require("express");
const SCIMMY = require("scimmy").default ?? require("scimmy");
const SCIMMYRouters = require("scimmy-routers").default ?? require("scimmy-routers");

const [port, token] = process.argv.slice(2);

function kept(type) {
  const known = new Map();
  let next = 1;
  SCIMMY.Resources.declare(type)
    .ingress((resource, data) => {
      const id = resource.id ?? `${type.name.toLowerCase()}-${next++}`;
      if (resource.id && !known.has(id)) throw new SCIMMY.Types.Error(404, null, `Resource ${id} not found`);
      const entry = { ...JSON.parse(JSON.stringify(data)), id };
      known.set(id, entry);
      return entry;
    })
    .egress((resource) => {
      if (!resource.id) return [...known.values()];
      if (!known.has(resource.id)) throw new SCIMMY.Types.Error(404, null, `Resource ${resource.id} not found`);
      return known.get(resource.id);
    })
    .degress((resource) => { known.delete(resource.id); });
}

kept(SCIMMY.Resources.User);
kept(SCIMMY.Resources.Group);

const app = express();
app.use("/scim/v2", new SCIMMYRouters({
  type: "bearer",
  docUri: "https://example.org/",
  handler: (request) => {
    if (request.header("Authorization") !== `Bearer ${token}`) throw new Error("the token is not accepted");
    return "somebody";
  },
}));
app.listen(Number(port), "127.0.0.1", () => console.log("ready"));
