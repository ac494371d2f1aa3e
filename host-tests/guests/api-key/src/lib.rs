//! An example of somebody else's filter: it asks a service whether an API key is good.
//!
//! A request without `x-api-key` is answered 401. With one it waits for `GET /keys/KEY` of the cluster `keys`: on a 200 it goes
//! on with the service's `x-user`, on anything else it is answered 403, and without an answer within 250 ms 503.

#![cfg(target_family = "wasm")]
#![expect(
    missing_docs,
    reason = "the SDK's macro writes an exported function without one"
)]

use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

/// The cluster that knows the keys.
const SERVICE: &str = "keys";

/// How long a request waits for it.
const PATIENCE: Duration = Duration::from_millis(250);

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| Box::new(Root));
}}

#[derive(Debug)]
struct Root;

impl Context for Root {}

impl RootContext for Root {
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Request))
    }
}

#[derive(Debug)]
struct Request;

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        // What a client says of itself is nothing that the upstream may believe.
        self.set_http_request_header("x-user", None);
        let key = self
            .get_http_request_header_bytes("x-api-key")
            .and_then(|key| String::from_utf8(key).ok())
            .filter(|key| key.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let Some(key) = key else {
            self.send_http_response(401, vec![("www-authenticate", "ApiKey")], None);
            return Action::Pause;
        };
        let path = format!("/keys/{key}");
        let headers = vec![
            (":method", "GET"),
            (":authority", SERVICE),
            (":path", path.as_str()),
        ];
        if let Err(status) = self.dispatch_http_call(SERVICE, headers, None, vec![], PATIENCE) {
            proxy_wasm::hostcalls::log(LogLevel::Error, &format!("no call-out: {status:?}")).ok();
            self.send_http_response(503, vec![], None);
        }
        Action::Pause
    }
}

impl Context for Request {
    fn on_http_call_response(
        &mut self,
        _call: u32,
        _headers: usize,
        _body: usize,
        _trailers: usize,
    ) {
        let status = self.get_http_call_response_header(":status");
        match status.as_deref() {
            Some("200") => {
                let user = self.get_http_call_response_header("x-user");
                self.set_http_request_header("x-user", user.as_deref());
                self.resume_http_request();
            }
            Some("503" | "504") | None => self.send_http_response(503, vec![], None),
            Some(_) => self.send_http_response(403, vec![], None),
        }
    }
}
