// The same request again and again, in a closed loop: k6 run -e URL=… -e BODY=file -e PLACES=32 -e SECONDS=5s k6.js
import http from "k6/http";

const body = open(__ENV.BODY);
const headers = { "Content-Type": "application/json", Authorization: "Bearer a-token" };

export const options = { vus: Number(__ENV.PLACES), duration: __ENV.SECONDS, discardResponseBodies: true };

export default function () {
  http.request("PATCH", `${__ENV.URL}/oserve/v1/miniapp/group/membership/`, body, { headers });
}

export function handleSummary(data) {
  return { stdout: JSON.stringify({ requests_per_second: data.metrics.http_reqs.values.rate }) };
}
