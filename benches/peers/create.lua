-- wrk: creates an alias with each request.
wrk.method = "POST"
wrk.body = '{"target": "someone@mailbox.test", "days": 10}'
wrk.headers["Content-Type"] = "application/json"
