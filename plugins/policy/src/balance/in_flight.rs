//! Knows the attempts under way at each endpoint, and how old the oldest is.
//!
//! Why: an endpoint that hangs gives no sample until its attempts end. Their number tells at once
//! that it takes longer than others, and the age of the oldest is a bound below of its latency.
//! Model: one doubly linked list of attempts for each endpoint, in the order of their beginnings;
//! the oldest is its head. All lists share one table, whose free places form one more list.
//! An attempt whose headers came leaves the list and stays counted: how long its body takes says
//! nothing of the endpoint's latency, and an event stream's never ends. An upgraded stream
//! (WebSocket) leaves it too and is counted apart: it lives for hours and asks for little.
//! Inputs / Output: [`InFlight::on_start`] gives a [`Ticket`]; who has it says that the attempt was
//! answered, is served elsewhere, was upgraded or ended. A ticket can be neither copied nor used
//! twice.
//! Limits: [`MAX_STREAMS`] attempts at a time have a place. What is beyond is counted at its
//! endpoint, but has no age. After a step back of the clock the head is the one that began first,
//! though not the one with the earliest time; ages saturate at zero.
//! Scope: per worker VM; never merged. Cost: O(1) each, 16 bytes for each attempt and 16 for each
//! endpoint; memory grows to the most that was ever under way and is used again from then on.

use alloc::vec::Vec;
use core::time::Duration;

use crate::units::WallTime;

/// Is how many attempts have a place: 1 MiB of them. A worker with more under way still counts
/// those beyond, but doesn't know how old they are; a larger table costs memory only when needed.
pub const MAX_STREAMS: usize = 65_536;

/// Is an endpoint's place in the tables of one VM, from 0: it stays the same for as long as the
/// endpoint is known or has attempts under way.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Seat(pub u32);

impl Seat {
    /// Is never given: there are fewer endpoints than that.
    pub const NONE: Self = Self(u32::MAX);
}

/// Is one attempt under way, for whoever began it to keep.
#[derive(Debug, Eq, PartialEq)]
#[must_use = "an attempt whose ticket is lost never ends"]
pub struct Ticket {
    seat: Seat,
    /// Is its place in the table; `NOWHERE` where it found none.
    place: u32,
    started_at: WallTime,
    upgraded: bool,
}

impl Ticket {
    /// Is the endpoint that the attempt went to.
    #[must_use]
    pub const fn seat(&self) -> Seat {
        self.seat
    }

    /// Is when it began.
    #[must_use]
    pub const fn started_at(&self) -> WallTime {
        self.started_at
    }

    /// Says whether it became a stream that lives on, such as a WebSocket.
    #[must_use]
    pub const fn is_upgraded(&self) -> bool {
        self.upgraded
    }
}

/// Is what an endpoint has under way after an attempt ended there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// Something: its seat stays taken.
    Busy,
    /// Nothing: its seat may go to another endpoint.
    Idle,
}

/// Ends a list.
const NOWHERE: u32 = u32::MAX;

/// Is a place in the table: of an attempt, or free. A free one uses `next` only.
#[derive(Clone, Copy, Debug)]
struct Place {
    started_at: WallTime,
    next: u32,
    previous: u32,
}

/// Is what is under way at one endpoint.
#[derive(Clone, Copy, Debug)]
struct Queue {
    oldest: u32,
    newest: u32,
    requests: u32,
    upgraded: u32,
}

impl Queue {
    const EMPTY: Self = Self {
        oldest: NOWHERE,
        newest: NOWHERE,
        requests: 0,
        upgraded: 0,
    };
}

/// Holds the attempts under way of one cluster.
#[derive(Clone, Debug)]
pub struct InFlight {
    places: Vec<Place>,
    /// Is the first free place.
    free: u32,
    queues: Vec<Queue>,
    max_streams: usize,
    requests: u64,
    unplaced: u64,
}

impl InFlight {
    /// Starts with nothing under way and room for so many attempts, at most [`MAX_STREAMS`].
    #[must_use]
    pub fn new(max_streams: usize) -> Self {
        Self {
            places: Vec::new(),
            free: NOWHERE,
            queues: Vec::new(),
            max_streams: max_streams.min(MAX_STREAMS),
            requests: 0,
            unplaced: 0,
        }
    }

    /// Makes room for endpoints up to this many seats; for the tick, so that requests need none.
    pub fn reserve(&mut self, seats: usize) {
        if seats > self.queues.len() {
            self.queues.resize(seats, Queue::EMPTY);
        }
    }

    /// Takes that an attempt began. A seat beyond the reserved ones is counted nowhere.
    pub fn on_start(&mut self, seat: Seat, now: WallTime) -> Ticket {
        let newest = self
            .queues
            .get(index(seat.0))
            .map_or(NOWHERE, |queue| queue.newest);
        let place = match self.queues.get(index(seat.0)) {
            Some(_) => self.take_place(newest, now),
            None => NOWHERE,
        };
        if place == NOWHERE {
            self.unplaced = self.unplaced.saturating_add(1);
        }
        if let Some(queue) = self.queues.get_mut(index(seat.0)) {
            queue.requests = queue.requests.saturating_add(1);
            self.requests = self.requests.saturating_add(1);
            if place != NOWHERE {
                queue.newest = place;
                if queue.oldest == NOWHERE {
                    queue.oldest = place;
                }
            }
        }
        if place != NOWHERE
            && let Some(before) = self.places.get_mut(index(newest))
        {
            before.next = place;
        }
        Ticket {
            seat,
            place,
            started_at: now,
            upgraded: false,
        }
    }

    /// Takes that an attempt's headers came: it has no age any more; a second time changes nothing.
    pub fn on_answer(&mut self, ticket: &mut Ticket) {
        self.unlink(ticket);
        ticket.place = NOWHERE;
    }

    /// Takes that another endpoint serves what went to the ticket's: it counts there from now on,
    /// without an age. Says what its former endpoint has left.
    pub fn on_move(&mut self, ticket: &mut Ticket, seat: Seat) -> Ended {
        let started_at = ticket.started_at;
        let moved = Ticket {
            seat,
            place: NOWHERE,
            started_at,
            upgraded: ticket.upgraded,
        };
        let former = core::mem::replace(ticket, moved);
        if let Some(queue) = self.queues.get_mut(index(seat.0)) {
            if ticket.upgraded {
                queue.upgraded = queue.upgraded.saturating_add(1);
            } else {
                queue.requests = queue.requests.saturating_add(1);
                self.requests = self.requests.saturating_add(1);
            }
        }
        self.on_end(former)
    }

    /// Takes that an attempt became a stream that lives on; a second time changes nothing.
    pub fn on_upgrade(&mut self, ticket: &mut Ticket) {
        if ticket.upgraded {
            return;
        }
        ticket.upgraded = true;
        self.unlink(ticket);
        ticket.place = NOWHERE;
        if let Some(queue) = self.queues.get_mut(index(ticket.seat.0)) {
            queue.requests = queue.requests.saturating_sub(1);
            queue.upgraded = queue.upgraded.saturating_add(1);
            self.requests = self.requests.saturating_sub(1);
        }
    }

    /// Takes that an attempt ended, however it did.
    pub fn on_end(&mut self, ticket: Ticket) -> Ended {
        self.unlink(&ticket);
        if let Some(queue) = self.queues.get_mut(index(ticket.seat.0)) {
            if ticket.upgraded {
                queue.upgraded = queue.upgraded.saturating_sub(1);
            } else {
                queue.requests = queue.requests.saturating_sub(1);
                self.requests = self.requests.saturating_sub(1);
            }
        }
        if self.is_busy(ticket.seat) {
            Ended::Busy
        } else {
            Ended::Idle
        }
    }

    /// Says whether an endpoint has requests under way, or upgraded streams.
    #[must_use]
    pub fn is_busy(&self, seat: Seat) -> bool {
        self.requests(seat) > 0 || self.upgraded(seat) > 0
    }

    /// Is the number of requests under way at an endpoint, upgraded streams apart.
    #[must_use]
    pub fn requests(&self, seat: Seat) -> u32 {
        self.queues
            .get(index(seat.0))
            .map_or(0, |queue| queue.requests)
    }

    /// Is the number of upgraded streams that live at an endpoint.
    #[must_use]
    pub fn upgraded(&self, seat: Seat) -> u32 {
        self.queues
            .get(index(seat.0))
            .map_or(0, |queue| queue.upgraded)
    }

    /// Is the age of an endpoint's oldest request; zero where it has none.
    #[must_use]
    pub fn oldest_age(&self, seat: Seat, now: WallTime) -> Duration {
        self.queues
            .get(index(seat.0))
            .and_then(|queue| self.places.get(index(queue.oldest)))
            .map_or(Duration::ZERO, |place| {
                now.saturating_since(place.started_at)
            })
    }

    /// Is the number of requests under way at all endpoints.
    #[must_use]
    pub const fn all_requests(&self) -> u64 {
        self.requests
    }

    /// Is how many attempts found no place since the beginning: their age is not known.
    #[must_use]
    pub const fn unplaced(&self) -> u64 {
        self.unplaced
    }

    /// Takes a free place, or makes one; `NOWHERE` where there are enough.
    fn take_place(&mut self, previous: u32, started_at: WallTime) -> u32 {
        let filled = Place {
            started_at,
            next: NOWHERE,
            previous,
        };
        let free = self.free;
        if let Some(place) = self.places.get_mut(index(free)) {
            self.free = place.next;
            *place = filled;
            return free;
        }
        if self.places.len() >= self.max_streams {
            return NOWHERE;
        }
        let fresh = u32::try_from(self.places.len()).unwrap_or(NOWHERE);
        self.places.push(filled);
        fresh
    }

    /// Takes an attempt out of its list and frees its place.
    fn unlink(&mut self, ticket: &Ticket) {
        let Some(place) = self.places.get_mut(index(ticket.place)) else {
            return;
        };
        let Place { next, previous, .. } = *place;
        place.next = self.free;
        self.free = ticket.place;
        if let Some(before) = self.places.get_mut(index(previous)) {
            before.next = next;
        }
        if let Some(after) = self.places.get_mut(index(next)) {
            after.previous = previous;
        }
        if let Some(queue) = self.queues.get_mut(index(ticket.seat.0)) {
            if previous == NOWHERE {
                queue.oldest = next;
            }
            if next == NOWHERE {
                queue.newest = previous;
            }
        }
    }
}

/// Is an index into a table; `NOWHERE` is behind the end of each.
fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}
