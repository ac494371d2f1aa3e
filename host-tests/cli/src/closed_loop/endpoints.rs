//! What goes to endpoints, of streams and of call-outs alike: connections, places, and what an endpoint does.

use tidegate_host::CallId;
use tidegate_model::balance::Ended;
use tidegate_model::endpoint::{Asked, Begun, Connects, Served, Serving};
use tidegate_model::report::Sink;
use tidegate_model::router::{Asked as Connection, Freed, Reset};

use super::RunError;
use super::engine::Engine;
use super::queue::Event;

/// A request to an endpoint: an attempt, or a call-out.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) owner: Owner,
    pub(super) cluster: usize,
    pub(super) host: usize,
    /// The thread that it comes from; the main thread is the last.
    pub(super) thread: usize,
    /// Whether it has its connection.
    pub(super) has_begun: bool,
    pub(super) begun_ns: u64,
    /// The whole request, once it is there.
    pub(super) asked: Option<WholeRequest>,
    /// What the endpoint is going to do.
    pub(super) serving: Option<Serving>,
}

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Stream(u64),
    Call(CallId),
}

/// A request as an endpoint gets it.
#[derive(Debug, Clone)]
pub(super) struct WholeRequest {
    pub(super) path: String,
    pub(super) is_upgrade: bool,
    pub(super) recorded_ns: Option<u64>,
}

/// How a work ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    /// Whether its connection can be used again.
    pub(super) keeps_connection: bool,
    /// Whether it was answered with a status below 500.
    pub(super) succeeded: bool,
}

/// The end of a work that nothing came of.
pub(super) const FAILED: End = End {
    keeps_connection: false,
    succeeded: false,
};

impl Engine {
    /// A request wants to go to an endpoint. Returns its number.
    pub(super) fn begin_work(
        &mut self,
        owner: Owner,
        cluster: usize,
        host: usize,
        thread: usize,
        sink: &mut dyn Sink,
    ) -> Result<u64, RunError> {
        let number = self.next_work;
        self.next_work += 1;
        self.works.insert(
            number,
            Work {
                owner,
                cluster,
                host,
                thread,
                has_begun: false,
                begun_ns: self.now_ns,
                asked: None,
                serving: None,
            },
        );
        let connection = self
            .clusters
            .get_mut(cluster)
            .and_then(|cluster| cluster.pool(thread, host))
            .map(|(pool, breakers)| pool.ask(number, breakers));
        if connection == Some(Connection::Full)
            && let Owner::Stream(key) = owner
            && let Some(stream) = self.streams.get_mut(&key)
            && let Some(endpoint) = stream.row.endpoints.last_mut()
        {
            *endpoint = None;
        }
        match connection {
            Some(Connection::Begins) => self.begins(number, sink)?,
            Some(Connection::Waits { connects }) => self.connect(cluster, thread, host, connects),
            Some(Connection::Overflows | Connection::Full) | None => {
                let reset = Reset::Overflow;
                self.queue.push(
                    self.now_ns,
                    Event::Fails {
                        work: number,
                        reset,
                    },
                );
            }
        }
        Ok(number)
    }

    /// Begins to make connections.
    fn connect(&mut self, cluster: usize, thread: usize, host: usize, count: u32) {
        let now_ns = self.now_ns;
        let Some(of) = self.clusters.get(cluster) else {
            return;
        };
        let connects = of
            .servers
            .get(host)
            .map_or(Connects::Never, |server| server.connects(now_ns));
        let timeout_ns = now_ns.saturating_add(of.connect_timeout_ns);
        for _ in 0..count {
            let fails = |reset| Event::ConnectFails {
                cluster,
                thread,
                host,
                reset,
            };
            match connects {
                Connects::Yes => self.queue.push(
                    now_ns,
                    Event::Connected {
                        cluster,
                        thread,
                        host,
                    },
                ),
                Connects::Refused => self.queue.push(now_ns, fails(Reset::ConnectFailure)),
                Connects::Never => self.queue.push(timeout_ns, fails(Reset::ConnectTimeout)),
            }
        }
    }

    pub(super) fn connected(
        &mut self,
        cluster: usize,
        thread: usize,
        host: usize,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let served = self
            .clusters
            .get_mut(cluster)
            .and_then(|cluster| cluster.pool(thread, host))
            .map(|(pool, breakers)| pool.on_connected(breakers));
        let freed = Freed {
            served: served.unwrap_or_default(),
            connects: 0,
        };
        self.freed(cluster, thread, host, freed, sink)
    }

    pub(super) fn connect_failed(
        &mut self,
        cluster: usize,
        thread: usize,
        host: usize,
        reset: Reset,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let Some(of) = self.clusters.get_mut(cluster) else {
            return Ok(());
        };
        if let Some(stats) = of.stats.get_mut(host) {
            stats.cx_connect_fail += 1;
        }
        let failed = of
            .pool(thread, host)
            .map(|(pool, breakers)| pool.on_connect_failed(breakers));
        for work in failed.unwrap_or_default() {
            self.fails(work, reset, sink)?;
        }
        Ok(())
    }

    /// Serves those that waited for a connection.
    fn freed(
        &mut self,
        cluster: usize,
        thread: usize,
        host: usize,
        freed: Freed,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        self.connect(cluster, thread, host, freed.connects);
        for served in freed.served {
            if served.begins {
                self.begins(served.id, sink)?;
            } else {
                self.fails(served.id, Reset::Overflow, sink)?;
            }
        }
        Ok(())
    }

    /// A work has its connection.
    fn begins(&mut self, number: u64, sink: &mut dyn Sink) -> Result<(), RunError> {
        let now_ns = self.now_ns;
        let Some(work) = self.works.get_mut(&number) else {
            return Ok(());
        };
        work.has_begun = true;
        work.begun_ns = now_ns;
        let (owner, is_whole) = (work.owner, work.asked.is_some());
        if let Some(cluster) = self.clusters.get_mut(work.cluster) {
            let count = cluster.on_start(work.thread, work.host, now_ns);
            sink.in_flight(cluster.address(work.host), now_ns, count);
        }
        if let Owner::Stream(stream) = owner {
            self.attempt_begins(stream, number)?;
        }
        if is_whole {
            self.ask(number);
        }
        Ok(())
    }

    /// The whole request has come to where the endpoint is.
    pub(super) fn complete(&mut self, number: u64, asked: WholeRequest) {
        let Some(work) = self.works.get_mut(&number) else {
            return;
        };
        work.asked = Some(asked);
        if work.has_begun {
            self.ask(number);
        }
    }

    /// The endpoint gets the request.
    fn ask(&mut self, number: u64) {
        let now_ns = self.now_ns;
        let Some(work) = self.works.get_mut(&number) else {
            return;
        };
        let server = self
            .clusters
            .get_mut(work.cluster)
            .and_then(|cluster| cluster.servers.get_mut(work.host));
        let (Some(server), Some(request)) = (server, &work.asked) else {
            return;
        };
        let asked = Asked {
            path: &request.path,
            upgrade: request.is_upgrade,
            recorded_ns: request.recorded_ns,
        };
        if let Begun::Serves(served) = server.begin(number, &asked, now_ns) {
            self.plan(number, served);
        }
    }

    /// Notes what an endpoint is going to do.
    fn plan(&mut self, number: u64, served: Served) {
        let Some(work) = self.works.get_mut(&number) else {
            return;
        };
        if served.with == Serving::Silence {
            return;
        }
        work.serving = Some(served.with);
        self.queue
            .push(served.at_ns, Event::Serves { work: number });
    }

    /// A work is over: its place and its connection are free again.
    pub(super) fn end_work(
        &mut self,
        number: u64,
        end: End,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let now_ns = self.now_ns;
        let Some(work) = self.works.remove(&number) else {
            return Ok(());
        };
        let Some(cluster) = self.clusters.get_mut(work.cluster) else {
            return Ok(());
        };
        let next = cluster
            .servers
            .get_mut(work.host)
            .and_then(|server| server.end(number, now_ns));
        let mut freed = Freed::default();
        if work.has_begun {
            let ended = Ended {
                now_ns,
                took_ns: now_ns.saturating_sub(work.begun_ns),
                succeeded: end.succeeded,
            };
            cluster.on_end(work.thread, work.host, ended);
            if let Some((pool, breakers)) = cluster.pool(work.thread, work.host) {
                freed = pool.on_ended(end.keeps_connection, breakers);
            }
        } else if let Some((pool, breakers)) = cluster.pool(work.thread, work.host) {
            pool.cancel(number, breakers);
        }
        if let Some((next, served)) = next {
            self.plan(next, served);
        }
        self.freed(work.cluster, work.thread, work.host, freed, sink)
    }

    /// An endpoint does what it was going to do.
    pub(super) fn serves(&mut self, number: u64, sink: &mut dyn Sink) -> Result<(), RunError> {
        let Some(work) = self.works.get_mut(&number) else {
            return Ok(());
        };
        let (owner, Some(serving)) = (work.owner, work.serving.take()) else {
            return Ok(());
        };
        match owner {
            Owner::Stream(stream) => self.attempt_served(stream, number, serving, sink),
            Owner::Call(call) => self.call_served(call, number, serving, sink),
        }
    }

    /// A work ends without an answer, or within one.
    pub(super) fn fails(
        &mut self,
        number: u64,
        reset: Reset,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        match self.works.get(&number).map(|work| work.owner) {
            Some(Owner::Stream(stream)) => self.attempt_failed(stream, number, reset, sink),
            Some(Owner::Call(call)) => self.call_failed(call, number, sink),
            None => Ok(()),
        }
    }

    /// Ends what is under way to endpoints that take no connections any more.
    pub(super) fn close_refused(
        &mut self,
        cluster: usize,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let now_ns = self.now_ns;
        let Some(of) = self.clusters.get_mut(cluster) else {
            return Ok(());
        };
        let refuses: Vec<bool> = of
            .servers
            .iter()
            .map(|server| server.connects(now_ns) == Connects::Refused)
            .collect();
        if !refuses.contains(&true) {
            return Ok(());
        }
        of.close_idle(&refuses);
        let cut = self.works.iter().filter(|(_, work)| {
            work.cluster == cluster && work.has_begun && refuses.get(work.host) == Some(&true)
        });
        let cut: Vec<u64> = cut.map(|(number, _)| *number).collect();
        for work in cut {
            self.fails(work, Reset::ConnectionTermination, sink)?;
        }
        Ok(())
    }
}
