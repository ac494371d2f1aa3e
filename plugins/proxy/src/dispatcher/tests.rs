use std::cell::Cell;

use tidegate_policy::config::Problem;

use super::*;

thread_local! {
    static DISPATCHER: Dispatcher<Probe> = const { Dispatcher::new() };
    static REENTERED: Cell<u32> = const { Cell::new(0) };
    static REFUSE: Cell<bool> = const { Cell::new(false) };
    static ENDED: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// Counts what comes to it; a tick calls back into the dispatcher, as a call-out through an
/// upstream filter of the same VM does.
#[derive(Default)]
struct Probe {
    ticks: u32,
    streams: u32,
    calls: u32,
}

struct ProbeStream(StreamId);

impl Plugin for Probe {
    const NAME: &'static str = "probe";
    const VERSION: &'static str = "0";
    type Stream = ProbeStream;

    fn configure(_configuration: &[u8]) -> Result<Self, Vec<Problem>> {
        if REFUSE.get() {
            return Err(vec![Problem::new("$", "refused", "must be better", "")]);
        }
        Ok(Self::default())
    }

    fn digest(&self) -> u64 {
        1
    }

    fn open_stream(&mut self, id: StreamId) -> ProbeStream {
        self.streams += 1;
        ProbeStream(id)
    }

    fn tick(&mut self) {
        self.ticks += 1;
        DISPATCHER.with(|dispatcher| {
            dispatcher.create(9, 1);
            assert_eq!(dispatcher.request_headers(9, 1, 1), CONTINUE);
            assert_eq!(dispatcher.configure(1, 0), 1);
            dispatcher.log(9);
            dispatcher.delete(9);
            dispatcher.delete(8);
        });
        assert_eq!(ENDED.get(), (0, 0), "not while this runs");
    }

    fn call_response(&mut self, response: CallResponse) {
        self.calls += u32::from(response.headers > 0);
    }

    fn reentered() {
        REENTERED.set(REENTERED.get() + 1);
    }
}

impl Stream<Probe> for ProbeStream {
    fn request_headers(&mut self, plugin: &mut Probe, event: HeadersEvent) -> Action {
        assert!(event.end_of_stream);
        plugin.streams += 100 * self.0.0;
        Action::Pause
    }

    fn end(&mut self, _plugin: &mut Probe) {
        let (ended, lost) = ENDED.get();
        ENDED.set((ended + 1, lost));
    }

    fn lost(&mut self, _plugin: &mut Probe) {
        let (ended, lost) = ENDED.get();
        ENDED.set((ended, lost + 1));
    }
}

impl Dispatcher<Probe> {
    /// Looks at a plugin.
    fn seen(&self, id: u32) -> Option<(u32, u32, u32)> {
        self.contexts
            .borrow_mut()
            .plugin(id)
            .map(|probe| (probe.ticks, probe.streams, probe.calls))
    }
}

#[test]
fn callback_reaches_its_stream_and_its_plugin() {
    let dispatcher = Dispatcher::<Probe>::new();
    dispatcher.create(1, 0);
    dispatcher.create(2, 0);
    assert_eq!(
        (dispatcher.configure(1, 0), dispatcher.configure(2, 0)),
        (1, 1)
    );
    dispatcher.create(3, 1);
    dispatcher.create(4, 2);
    assert_eq!(dispatcher.request_headers(4, 1, 1), Action::Pause as u32);
    dispatcher.call_response(2, 7, 3, 0, 0);
    assert_eq!(dispatcher.seen(1), Some((0, 1, 0)));
    assert_eq!(dispatcher.seen(2), Some((0, 401, 1)));
    dispatcher.delete(4);
    assert_eq!(dispatcher.request_headers(4, 1, 1), CONTINUE);
    assert_eq!(dispatcher.seen(2), Some((0, 401, 1)));
    dispatcher.delete(2);
    assert_eq!(dispatcher.seen(2), None);
}

#[test]
fn callback_inside_a_callback_is_let_go_on_and_counted() {
    DISPATCHER.with(|dispatcher| {
        dispatcher.create(1, 0);
        dispatcher.configure(1, 0);
        dispatcher.create(7, 1);
        dispatcher.create(8, 1);
        dispatcher.tick(1);
        assert_eq!(REENTERED.get(), 6);
        // The stream that was created meanwhile is unknown, and goes through as well.
        assert_eq!(dispatcher.response_headers(9, 1, 0), CONTINUE);
        assert_eq!(dispatcher.seen(1), Some((1, 2, 0)));
        // The one that ended meanwhile is gone, though nobody could be asked about it.
        assert_eq!(dispatcher.request_headers(8, 1, 1), CONTINUE);
        assert_eq!(ENDED.get(), (0, 1));
        dispatcher.delete(7);
        assert_eq!(ENDED.get(), (1, 1));
        assert!(dispatcher.contexts.borrow().streams.is_empty());
    });
}

#[test]
fn callback_for_an_unknown_context_is_let_go_on() {
    let dispatcher = Dispatcher::<Probe>::new();
    assert_eq!(dispatcher.configure(5, 0), 1);
    dispatcher.create(6, 5);
    dispatcher.create(1, 0);
    // Not configured yet.
    dispatcher.create(2, 1);
    for id in [0, 1, 2, 5, 6, u32::MAX] {
        dispatcher.tick(id);
        dispatcher.call_response(id, 1, 0, 0, 0);
        dispatcher.queue_ready(id, 1);
        assert_eq!(dispatcher.request_headers(id, 0, 0), CONTINUE);
        assert_eq!(dispatcher.request_body(id, 0, 0), CONTINUE);
        assert_eq!(dispatcher.request_trailers(id, 0), CONTINUE);
        assert_eq!(dispatcher.response_headers(id, 0, 0), CONTINUE);
        assert_eq!(dispatcher.response_body(id, 0, 0), CONTINUE);
        assert_eq!(dispatcher.response_trailers(id, 0), CONTINUE);
        dispatcher.log(id);
        dispatcher.delete(id);
    }
}

#[test]
fn bad_first_configuration_is_refused_and_a_bad_later_one_changes_nothing() {
    let dispatcher = Dispatcher::<Probe>::new();
    dispatcher.create(1, 0);
    REFUSE.set(true);
    assert_eq!(dispatcher.configure(1, 0), 0);
    assert_eq!(dispatcher.seen(1), None);
    REFUSE.set(false);
    assert_eq!(dispatcher.configure(1, 0), 1);
    dispatcher.create(2, 1);
    REFUSE.set(true);
    assert_eq!(dispatcher.configure(1, 0), 1);
    assert_eq!(dispatcher.seen(1), Some((0, 1, 0)));
    assert_eq!(dispatcher.request_headers(2, 1, 1), Action::Pause as u32);
}
