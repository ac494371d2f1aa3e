//! Shared data and shared queues: one of each in a proxy, divided by VM ID.

use std::collections::{BTreeMap, VecDeque};

use crate::profile::Rules;
use crate::status::Status;
use crate::table::Table;

/// Shared data of the whole proxy.
#[derive(Debug, Default)]
pub(crate) struct SharedData {
    spaces: Table<Space>,
    /// Last number given out; one sequence for all VM IDs.
    last_cas: u32,
}

/// What VMs of one VM ID share.
#[derive(Debug)]
struct Space {
    vm_id: String,
    entries: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
}

impl SharedData {
    /// Position of a VM ID's data; made when it is new.
    pub(crate) fn space(&mut self, vm_id: &str) -> usize {
        let known = self.spaces.iter().position(|space| space.vm_id == vm_id);
        known.unwrap_or_else(|| {
            self.spaces.push(Space {
                vm_id: vm_id.to_owned(),
                entries: BTreeMap::new(),
            })
        })
    }

    pub(crate) fn get(&self, space: usize, key: &[u8]) -> Option<(&[u8], u32)> {
        let (value, cas) = self.spaces.at(space).entries.get(key)?;
        Some((value, *cas))
    }

    /// Writes a value. `cas` 0 writes always; another one must be the entry's. In Envoy that goes for an
    /// entry that there is: so a non-zero `cas` creates a missing one, once.
    pub(crate) fn set(
        &mut self,
        rules: &Rules,
        space: usize,
        key: &[u8],
        value: &[u8],
        cas: u32,
    ) -> Status {
        let next = match self.last_cas.wrapping_add(1) {
            0 => 1,
            next => next,
        };
        let entries = &mut self.spaces.at_mut(space).entries;
        match entries.get_mut(key) {
            Some((_, held)) if cas != 0 && cas != *held => return Status::CasMismatch,
            Some((held_value, held)) => {
                held_value.clear();
                held_value.extend_from_slice(value);
                *held = next;
            }
            None if cas != 0 && !rules.cas_creates_entries => return Status::CasMismatch,
            None => {
                entries.insert(key.to_vec(), (value.to_vec(), next));
            }
        }
        self.last_cas = next;
        Status::Ok
    }

    pub(crate) fn entries(&self, vm_id: &str) -> impl Iterator<Item = (&[u8], &[u8], u32)> {
        self.spaces
            .iter()
            .filter(move |space| space.vm_id == vm_id)
            .flat_map(|space| &space.entries)
            .map(|(key, (value, cas))| (key.as_slice(), value.as_slice(), *cas))
    }
}

/// Shared queues of the whole proxy; a token is the position plus one.
#[derive(Debug, Default)]
pub(crate) struct Queues(Table<Queue>);

#[derive(Debug)]
struct Queue {
    vm_id: String,
    name: Vec<u8>,
    owner: Owner,
    messages: VecDeque<Vec<u8>>,
}

/// Who is told of new messages: the root context that registered last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub(crate) slot: usize,
    pub(crate) root: u32,
}

impl Queues {
    pub(crate) fn register(&mut self, vm_id: &str, name: &[u8], owner: Owner) -> u32 {
        if let Some(token) = self.resolve(vm_id, name) {
            if let Some(queue) = self.queue_mut(token) {
                queue.owner = owner;
            }
            return token;
        }
        let index = self.0.push(Queue {
            vm_id: vm_id.to_owned(),
            name: name.to_vec(),
            owner,
            messages: VecDeque::new(),
        });
        u32::try_from(index).map_or(u32::MAX, |index| index.saturating_add(1))
    }

    pub(crate) fn resolve(&self, vm_id: &str, name: &[u8]) -> Option<u32> {
        let index = self
            .0
            .iter()
            .position(|queue| queue.vm_id == vm_id && queue.name == name)?;
        u32::try_from(index).ok()?.checked_add(1)
    }

    /// Adds a message and tells who is to be notified; `None` when there is no such queue.
    pub(crate) fn enqueue(&mut self, token: u32, message: &[u8]) -> Option<Owner> {
        let queue = self.queue_mut(token)?;
        queue.messages.push_back(message.to_vec());
        Some(queue.owner)
    }

    pub(crate) fn dequeue(&mut self, token: u32) -> Result<Vec<u8>, Status> {
        let queue = self.queue_mut(token).ok_or(Status::NotFound)?;
        queue.messages.pop_front().ok_or(Status::Empty)
    }

    fn queue_mut(&mut self, token: u32) -> Option<&mut Queue> {
        let index = usize::try_from(token.checked_sub(1)?).ok()?;
        (index < self.0.len()).then(|| self.0.at_mut(index))
    }
}
