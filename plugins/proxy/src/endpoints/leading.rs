//! What the VM does that leads: the policy's [`Lead`], over the host.
//!
//! Fencing: the versions are written with the cas that they were read with at the beginning of the
//! tick, and only where they are not a newer leader's. Snapshots are written as they are, because
//! reading each for its cas would copy them all: what a stalled leader writes late is named by no
//! version, so that readers leave it alone.
//! Cost of a tick: one read for each slot that was ever claimed and one more; one call-out for each
//! probe and question that is due; one write for each snapshot that changed, and one of the versions
//! once a second. The first tick of a term reads every snapshot of the predecessor.

use std::{collections::BTreeMap, rc::Rc};

use tidegate_policy::{
    endpoints::{
        Answer, Call, CallKey, Config, KEY_PLUGIN, Lead, Publication, Selector, Source, slot_key,
    },
    slots::SlotIndex,
    snapshot::{VersionsView, cluster_digest, snapshot_key, versions_key},
    units::WallTime,
};

use super::draws::Draws;
use crate::{
    buffer::{self, Buffer},
    call::{self, CallId},
    context::CallResponse,
    headers::Map,
    shared::{self, Cas, Written},
};

/// Is how many calls may be open until those are looked for whose answers nobody waits for: what a
/// host did not bring, because it came while another callback ran, would stay for ever.
const MAX_CALLS: usize = 2048;

/// Says that a leader with a newer epoch has written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Replaced {
    /// Is the newer epoch.
    pub(super) by: u64,
}

/// Is what was read under the key of the versions at the beginning of a tick; `None`: nobody ever
/// wrote them.
pub(super) type ReadVersions<'r> = Option<&'r (Vec<u8>, Cas)>;

/// Is a term.
#[derive(Debug)]
pub(super) struct Leading {
    lead: Lead,
    configuration: u64,
    calls: BTreeMap<CallId, CallKey>,
    /// Are the keys of the slots, made when they are needed first.
    slots: Vec<String>,
}

impl Leading {
    /// Begins a term with what a predecessor published of the clusters that are named and of those
    /// in `seen`.
    ///
    /// # Errors
    /// A leader with a newer epoch has written: [`Replaced`].
    pub(super) fn begin<'s>(
        config: &Rc<Config>,
        endpoint_header: &str,
        epoch: u64,
        versions: ReadVersions<'_>,
        seen: impl IntoIterator<Item = &'s str>,
        now: WallTime,
    ) -> Result<Self, Replaced> {
        let configuration = config.digest();
        let versions = versions.and_then(|(bytes, _)| ours(bytes, configuration));
        check(versions.as_ref(), epoch)?;
        let mut lead = Lead::new(Rc::clone(config), endpoint_header, epoch, now);
        let seen: Vec<&str> = seen.into_iter().collect();
        for cluster in names(config).into_iter().chain(seen.iter().copied()) {
            let key = snapshot_key(KEY_PLUGIN, configuration, cluster.as_bytes());
            // What cannot be read is learned anew.
            if let Ok(Some((snapshot, _))) = shared::read(&key) {
                let version = versions
                    .as_ref()
                    .and_then(|versions| versions.get(cluster_digest(cluster.as_bytes())));
                let confirmed_at = version.map(|version| version.confirmed_at);
                lead.restore(cluster, &snapshot, confirmed_at, now);
            }
        }
        Ok(Self {
            lead,
            configuration,
            calls: BTreeMap::new(),
            slots: Vec::new(),
        })
    }

    /// Is the term's epoch.
    pub(super) const fn epoch(&self) -> u64 {
        self.lead.epoch()
    }

    /// Takes clusters in that requests go to.
    pub(super) fn on_seen<'s>(&mut self, clusters: impl IntoIterator<Item = &'s str>) {
        for cluster in clusters {
            self.lead.on_seen(cluster);
        }
    }

    /// Does what is due. Where the versions could not be read, `versions` is an error, and nothing
    /// is written at this tick.
    ///
    /// # Errors
    /// A leader with a newer epoch has written: the term is over.
    pub(super) fn on_tick<E>(
        &mut self,
        versions: &Result<Option<(Vec<u8>, Cas)>, E>,
        draws: &mut Draws,
        now: WallTime,
    ) -> Result<(), Replaced> {
        let read = versions.as_ref().ok().and_then(Option::as_ref);
        let opened = read.and_then(|(bytes, _)| ours(bytes, self.configuration));
        check(opened.as_ref(), self.epoch())?;
        self.read_reports(now);
        let mut draw = || draws.draw();
        self.lead.on_tick(now, &mut draw);
        while let Some(call) = self.lead.poll_call(now, &mut draw) {
            match send(&call) {
                Some(id) => {
                    self.calls.insert(id, call.key);
                }
                None => self.lead.on_not_sent(call.key, now, &mut draw),
            }
        }
        if self.calls.len() > MAX_CALLS {
            let lead = &self.lead;
            self.calls.retain(|_, key| lead.awaits(*key));
        }
        if versions.is_ok() {
            self.publish(read.map(|(_, cas)| *cas), now);
        }
        Ok(())
    }

    /// Takes the answer of a call-out; says whether it was one of this term's.
    pub(super) fn on_call_response(
        &mut self,
        response: CallResponse,
        draws: &mut Draws,
        now: WallTime,
    ) -> bool {
        let Some(key) = self.calls.remove(&response.call) else {
            return false;
        };
        let answer = HostAnswer(response);
        self.lead.on_answer(key, &answer, now, &mut || draws.draw());
        true
    }

    /// Reads the slots in order, up to the first that nobody ever wrote.
    fn read_reports(&mut self, now: WallTime) {
        let mut read = Vec::new();
        for index in SlotIndex::all() {
            let place = usize::from(index.number());
            if self.slots.len() <= place {
                self.slots.push(slot_key(self.configuration, index));
            }
            let Some(key) = self.slots.get(place) else {
                break;
            };
            match shared::read(key) {
                Ok(Some((bytes, _))) => read.push((index, bytes)),
                Ok(None) => break,
                // One that cannot be read is left out.
                Err(_) => {}
            }
        }
        let reports = read
            .iter()
            .map(|(index, bytes)| (*index, Some(bytes.as_slice())));
        self.lead.on_reports(reports, now);
    }

    /// Writes what changed; the versions with the cas of their read, or where there are none.
    fn publish(&mut self, mut cas: Option<Cas>, now: WallTime) {
        let versions = versions_key(KEY_PLUGIN, self.configuration);
        while let Some(publication) = self.lead.poll_publication(now) {
            let Publication { key, bytes } = &publication;
            let is_written = if *key == versions {
                let written = match cas.take() {
                    Some(cas) => shared::write_if(key, bytes, cas),
                    None => shared::create(key, bytes),
                };
                written == Ok(Written::Won)
            } else {
                shared::write(key, bytes).is_ok()
            };
            if !is_written {
                self.lead.on_not_written(&publication);
            }
        }
    }
}

/// Opens versions that are of this configuration; `None` for anything else.
fn ours(bytes: &[u8], configuration: u64) -> Option<VersionsView<'_>> {
    let versions = VersionsView::open(bytes).ok()?;
    (versions.configuration() == configuration).then_some(versions)
}

/// Refuses a term that is older than what was written.
fn check(versions: Option<&VersionsView<'_>>, epoch: u64) -> Result<(), Replaced> {
    match versions {
        Some(versions) if versions.epoch() > epoch => Err(Replaced {
            by: versions.epoch(),
        }),
        _ => Ok(()),
    }
}

/// Lists the clusters that a block names.
pub(super) fn names(config: &Config) -> Vec<&str> {
    let selected = config
        .clusters()
        .iter()
        .filter_map(|selector| match selector {
            Selector::Name(name) => Some(name.as_str()),
            Selector::Prefix(_) => None,
        });
    let mut names: Vec<&str> = selected.collect();
    if let Source::Static(listings) = config.source() {
        names.extend(listings.iter().map(|listing| listing.cluster()));
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Makes a call; `None` where the host did not.
fn send(call: &Call) -> Option<CallId> {
    let headers: Vec<(&[u8], &[u8])> = call
        .headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    call::dispatch(&call.cluster, &headers, b"", call.timeout).ok()
}

/// Is the answer of a call-out, looked at as far as it is asked for.
#[derive(Debug)]
struct HostAnswer(CallResponse);

impl Answer for HostAnswer {
    fn status(&self) -> Option<u16> {
        let text = self.header(":status")?;
        str::from_utf8(&text).ok()?.parse().ok()
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        if self.0.headers == 0 {
            return None;
        }
        // A host that does not give it is one where it is not.
        Map::CallResponseHeaders.value(name).unwrap_or(None)
    }

    fn body_bytes(&self) -> usize {
        self.0.body_size
    }

    fn body(&self) -> Option<Vec<u8>> {
        if self.0.body_size == 0 {
            return Some(Vec::new());
        }
        let body = buffer::read(Buffer::CallResponseBody, 0, self.0.body_size).ok()?;
        // Half a body is none.
        (body.len() == self.0.body_size).then_some(body)
    }
}
