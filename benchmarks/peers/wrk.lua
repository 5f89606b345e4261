-- The same request again and again, in a closed loop: BODY=file wrk -t 2 -c 32 -d 5s -s wrk.lua URL
wrk.method = "PATCH"
wrk.body = io.open(os.getenv("BODY")):read("*a")
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer a-token"
