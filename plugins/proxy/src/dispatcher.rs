//! Takes the host's callbacks to the plugin and its streams.
//!
//! Why: a host can call back while a callback of the same VM is running (a call-out that goes
//! through an upstream filter in the same VM), for a context that is gone, and for one that was
//! never made. None of that may trap.
//! Limits: a callback that comes during another one is answered "go on" and counted; the end of a
//! context that comes so is made up for after it. One for an unknown context is answered "go on".
//! Scope: one per VM. Cost: O(log streams) per callback.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt, mem,
    panic::{PanicHookInfo, set_hook},
};

use tidegate_policy::config::Rejected;

use crate::{
    buffer,
    call::CallId,
    context::{
        Action, BodyEvent, CallResponse, HeadersEvent, Plugin, Stream, StreamId, TrailersEvent,
    },
    log::{self, Level},
};

/// Is the answer for a callback that nobody takes.
const CONTINUE: u32 = Action::Continue as u32;

/// Holds a VM's plugins and streams.
pub struct Dispatcher<P: Plugin> {
    contexts: RefCell<Contexts<P>>,
    /// Are contexts that ended while a callback was running.
    ended: RefCell<Vec<u32>>,
}

impl<P: Plugin> fmt::Debug for Dispatcher<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(P::NAME)
    }
}

struct Contexts<P: Plugin> {
    /// Is short: one for each configuration that runs in this VM.
    plugins: Vec<(u32, Option<P>)>,
    /// Are in boxes: the map moves its entries, and a stream's state may be large.
    streams: BTreeMap<u32, (u32, Box<P::Stream>)>,
}

impl<P: Plugin> Default for Dispatcher<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Plugin> Dispatcher<P> {
    /// Starts without contexts.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            contexts: RefCell::new(Contexts {
                plugins: Vec::new(),
                streams: BTreeMap::new(),
            }),
            ended: RefCell::new(Vec::new()),
        }
    }

    /// Runs `callback` unless another one is running.
    fn enter<T>(&self, otherwise: T, callback: impl FnOnce(&mut Contexts<P>) -> T) -> T {
        match self.contexts.try_borrow_mut() {
            Ok(mut contexts) => {
                let answer = callback(&mut contexts);
                self.end_late(&mut contexts);
                answer
            }
            Err(_) => {
                P::reentered();
                otherwise
            }
        }
    }

    /// Ends the contexts that ended meanwhile.
    fn end_late(&self, contexts: &mut Contexts<P>) {
        let Ok(mut ended) = self.ended.try_borrow_mut() else {
            return;
        };
        // Nearly always there is none.
        for id in mem::take(&mut *ended) {
            contexts.end(id, P::Stream::lost);
        }
    }

    /// Runs `callback` on a plugin that is configured.
    fn on_plugin(&self, id: u32, callback: impl FnOnce(&mut P)) {
        self.enter((), |contexts| {
            if let Some(plugin) = contexts.plugin(id) {
                callback(plugin);
            }
        });
    }

    /// Runs `callback` on a stream and its plugin.
    fn on_stream(&self, id: u32, callback: impl FnOnce(&mut P::Stream, &mut P) -> Action) -> u32 {
        self.enter(CONTINUE, |contexts| {
            let Contexts { plugins, streams } = contexts;
            let Some((parent, stream)) = streams.get_mut(&id) else {
                return CONTINUE;
            };
            let plugin = plugins.iter_mut().find(|(id, _)| id == parent);
            match plugin {
                Some((_, Some(plugin))) => callback(stream, plugin) as u32,
                _ => CONTINUE,
            }
        })
    }

    /// Makes a context: a plugin's without a parent, a stream's with one.
    pub fn create(&self, id: u32, parent: u32) {
        self.enter((), |contexts| {
            if parent == 0 {
                contexts.plugins.push((id, None));
            } else if let Some(plugin) = contexts.plugin(parent) {
                let stream = Box::new(plugin.open_stream(StreamId(id)));
                contexts.streams.insert(id, (parent, stream));
            }
        });
    }

    /// Configures a plugin; `false` refuses to run it.
    pub fn configure(&self, id: u32, size: usize) -> u32 {
        // What came in between cannot be configured; refusing would stop the whole VM.
        self.enter(1, |contexts| u32::from(contexts.configure(id, size)))
    }

    /// Ends a context.
    pub fn delete(&self, id: u32) {
        if let Ok(mut contexts) = self.contexts.try_borrow_mut() {
            contexts.end(id, P::Stream::end);
            return;
        }
        P::reentered();
        if let Ok(mut ended) = self.ended.try_borrow_mut() {
            ended.push(id);
        }
    }

    /// Ticks a plugin.
    pub fn tick(&self, id: u32) {
        self.on_plugin(id, P::tick);
    }

    /// Brings a plugin the answer to a call-out.
    pub fn call_response(
        &self,
        id: u32,
        call: u32,
        headers: usize,
        body_size: usize,
        trailers: usize,
    ) {
        let response = CallResponse {
            call: CallId::new(call),
            headers,
            body_size,
            trailers,
        };
        self.on_plugin(id, |plugin| plugin.call_response(response));
    }

    /// Tells a plugin that a queue has something.
    pub fn queue_ready(&self, id: u32, queue: u32) {
        self.on_plugin(id, |plugin| plugin.queue_ready(queue));
    }

    /// Announces request headers.
    pub fn request_headers(&self, id: u32, count: usize, end: u32) -> u32 {
        let event = HeadersEvent {
            count,
            end_of_stream: end != 0,
        };
        self.on_stream(id, |stream, plugin| stream.request_headers(plugin, event))
    }

    /// Announces a piece of a request body.
    pub fn request_body(&self, id: u32, size: usize, end: u32) -> u32 {
        let event = BodyEvent {
            size,
            end_of_stream: end != 0,
        };
        self.on_stream(id, |stream, plugin| stream.request_body(plugin, event))
    }

    /// Announces request trailers.
    pub fn request_trailers(&self, id: u32, count: usize) -> u32 {
        self.on_stream(id, |stream, plugin| {
            stream.request_trailers(plugin, TrailersEvent { count })
        })
    }

    /// Announces response headers.
    pub fn response_headers(&self, id: u32, count: usize, end: u32) -> u32 {
        let event = HeadersEvent {
            count,
            end_of_stream: end != 0,
        };
        self.on_stream(id, |stream, plugin| stream.response_headers(plugin, event))
    }

    /// Announces a piece of a response body.
    pub fn response_body(&self, id: u32, size: usize, end: u32) -> u32 {
        let event = BodyEvent {
            size,
            end_of_stream: end != 0,
        };
        self.on_stream(id, |stream, plugin| stream.response_body(plugin, event))
    }

    /// Announces response trailers.
    pub fn response_trailers(&self, id: u32, count: usize) -> u32 {
        self.on_stream(id, |stream, plugin| {
            stream.response_trailers(plugin, TrailersEvent { count })
        })
    }

    /// Tells a stream that it ends.
    pub fn log(&self, id: u32) {
        self.on_stream(id, |stream, plugin| {
            stream.log(plugin);
            Action::Continue
        });
    }
}

impl<P: Plugin> Contexts<P> {
    fn plugin(&mut self, id: u32) -> Option<&mut P> {
        self.plugins
            .iter_mut()
            .find(|(plugin, _)| *plugin == id)?
            .1
            .as_mut()
    }

    /// Forgets a context, and takes leave of a stream.
    fn end(&mut self, id: u32, leave: fn(&mut P::Stream, &mut P)) {
        let Some((parent, mut stream)) = self.streams.remove(&id) else {
            self.plugins.retain(|(plugin, _)| *plugin != id);
            return;
        };
        if let Some(plugin) = self.plugin(parent) {
            leave(&mut stream, plugin);
        }
    }

    fn configure(&mut self, id: u32, size: usize) -> bool {
        let Some((_, slot)) = self.plugins.iter_mut().find(|(plugin, _)| *plugin == id) else {
            return true;
        };
        // The size is zero for an empty configuration, which has no buffer to read.
        let configuration = if size == 0 {
            Ok(Vec::new())
        } else {
            buffer::plugin_configuration()
        };
        let configured = match configuration {
            Ok(configuration) => {
                P::configure(&configuration).map_err(|problems| format!("{}", Rejected(&problems)))
            }
            Err(error) => Err(format!("plugin config rejected: {error}")),
        };
        match configured {
            Ok(plugin) => {
                let digest = plugin.digest();
                let line = format!(
                    "{} {} runs configuration {digest:016x}",
                    P::NAME,
                    P::VERSION
                );
                log::write(Level::Info, &line);
                *slot = Some(plugin);
                true
            }
            Err(message) => {
                log::write(Level::Error, &message);
                // An old policy is better than none.
                slot.is_some()
            }
        }
    }
}

/// Prepares a VM: a panic, which is a bug, is at least logged before it traps.
pub fn start() {
    set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        log::write(Level::Critical, &panic.to_string());
    }));
}

#[cfg(test)]
mod tests;
