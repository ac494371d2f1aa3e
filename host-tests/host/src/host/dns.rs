//! Envoy's own function that resolves names.

use super::call::{Call, Stop, bytes};
use crate::lookup::{LookupId, PendingLookup};
use crate::world::Lookup;

pub(super) fn resolve(
    call: &mut Call<'_>,
    address: i32,
    address_size: i32,
    token: i32,
) -> Result<(), Stop> {
    call.note_text("", address, address_size);
    let root = call.context().root;
    let (memory, guest) = call.parts();
    let name = bytes(memory, address, address_size)?;
    guest.keep(name.len())?;
    let name = String::from_utf8_lossy(name).into_owned();
    let number = guest.instance;
    let instance = guest.world.instances.at_mut(number);
    // 0 is no token.
    instance.last_lookup = instance.last_lookup.wrapping_add(1).max(1);
    let given = instance.last_lookup;
    call.write_u32(token, given)?;
    let world = &mut *call.guest().world;
    world.next_lookup = world.next_lookup.wrapping_add(1);
    let id = LookupId(world.next_lookup);
    let (plugin, thread) = world.caller(number, root);
    let pending = PendingLookup {
        id,
        token: given,
        plugin,
        thread,
        name,
    };
    world.lookups.insert(
        id,
        Lookup {
            instance: number,
            root,
            pending,
        },
    );
    Ok(())
}
