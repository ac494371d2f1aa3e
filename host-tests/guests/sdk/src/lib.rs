//! A filter on the public Proxy-Wasm SDK: the runner has to take anybody's filter, and has to show its faults as Envoy does.
//!
//! The plugin configuration is a comma-separated list of behaviours; without any, every callback does nothing.
//!
//! | behaviour | what it does |
//! | --- | --- |
//! | `add-header` | adds `x-sdk-guest: request` to requests and `x-sdk-guest: response` to responses |
//! | `count` | counts requests in shared data under `requests`, by compare-and-swap |
//! | `panic` | panics on a request that carries `x-panic` |
//! | `reply` | answers a request that carries `x-reply` itself, with status 418 |
//! | `call-out=CLUSTER` | dispatches `GET /probe` to the cluster every 100 ms |
//! | `wait=CLUSTER` | pauses each request until a call-out to the cluster is answered |

#![expect(
    missing_docs,
    reason = "the SDK's macro writes an exported function without one"
)]

use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Debug);
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Debug, Default)]
struct Behaviour {
    add_header: bool,
    count: bool,
    panic: bool,
    reply: bool,
    call_out: Option<String>,
    wait: Option<String>,
}

#[derive(Debug, Default)]
struct Root {
    behaviour: Rc<Behaviour>,
}

#[derive(Debug)]
struct Stream {
    behaviour: Rc<Behaviour>,
}

impl Behaviour {
    fn parse(configuration: &[u8]) -> Result<Self, String> {
        let mut behaviour = Self::default();
        for word in String::from_utf8_lossy(configuration)
            .split(',')
            .map(str::trim)
        {
            match word.split_once('=') {
                None if word.is_empty() => {}
                None if word == "add-header" => behaviour.add_header = true,
                None if word == "count" => behaviour.count = true,
                None if word == "panic" => behaviour.panic = true,
                None if word == "reply" => behaviour.reply = true,
                Some(("call-out", cluster)) => behaviour.call_out = Some(cluster.to_owned()),
                Some(("wait", cluster)) => behaviour.wait = Some(cluster.to_owned()),
                _ => return Err(format!("unknown behaviour `{word}`")),
            }
        }
        Ok(behaviour)
    }
}

fn call<C: Context + ?Sized>(context: &C, cluster: &str) -> bool {
    let headers = vec![
        (":method", "GET"),
        (":path", "/probe"),
        (":authority", cluster),
    ];
    context
        .dispatch_http_call(cluster, headers, None, Vec::new(), Duration::from_secs(1))
        .is_ok()
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, _: usize, body_size: usize, _: usize) {
        let status = self.get_http_call_response_header(":status");
        log::answer(token, status.as_deref(), body_size);
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        match Behaviour::parse(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(behaviour) => {
                if behaviour.call_out.is_some() {
                    self.set_tick_period(Duration::from_millis(100));
                }
                self.behaviour = Rc::new(behaviour);
                true
            }
            Err(problem) => {
                log::rejected(&problem);
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if let Some(cluster) = &self.behaviour.call_out {
            call(self, cluster);
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream {
            behaviour: Rc::clone(&self.behaviour),
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Stream {
    fn count(&self) {
        loop {
            let (value, cas) = self.get_shared_data("requests");
            let seen = value
                .and_then(|bytes| <[u8; 8]>::try_from(bytes).ok())
                .map_or(0, u64::from_le_bytes);
            let next = seen.saturating_add(1).to_le_bytes();
            if self.set_shared_data("requests", Some(&next), cas).is_ok() {
                return;
            }
        }
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, token: u32, _: usize, body_size: usize, _: usize) {
        let status = self.get_http_call_response_header(":status");
        log::answer(token, status.as_deref(), body_size);
        self.resume_http_request();
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        if self.behaviour.count {
            self.count();
        }
        #[expect(clippy::panic, reason = "the fault that the runner must survive")]
        if self.behaviour.panic && self.get_http_request_header("x-panic").is_some() {
            panic!("the client asked for it");
        }
        if self.behaviour.reply && self.get_http_request_header("x-reply").is_some() {
            self.send_http_response(
                418,
                vec![("x-sdk-guest", "reply")],
                Some(b"short and stout"),
            );
            return Action::Pause;
        }
        if self.behaviour.add_header {
            self.add_http_request_header("x-sdk-guest", "request");
        }
        match &self.behaviour.wait {
            Some(cluster) if call(self, cluster) => Action::Pause,
            _ => Action::Continue,
        }
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        if self.behaviour.add_header {
            self.add_http_response_header("x-sdk-guest", "response");
        }
        Action::Continue
    }
}

/// The lines that tests look for.
mod log {
    use proxy_wasm::hostcalls;
    use proxy_wasm::types::LogLevel;

    pub(crate) fn answer(token: u32, status: Option<&str>, body_size: usize) {
        let status = status.unwrap_or("none");
        write(
            LogLevel::Info,
            &format!("call {token} answered: status {status}, {body_size} bytes"),
        );
    }

    pub(crate) fn rejected(problem: &str) {
        write(
            LogLevel::Error,
            &format!("configuration rejected: {problem}"),
        );
    }

    fn write(level: LogLevel, message: &str) {
        // A log line that the host refuses is lost; there is nobody else to tell.
        let _ = hostcalls::log(level, message);
    }
}
