//! What can be known of a module's fit to its ABI without running it.

use super::{AbiVersion, Function, ModuleError, ModuleInfo};
use crate::callback::CALLBACKS;
use crate::engine::Engine;

/// Host functions that not every ABI has, with those that have them.
///
/// SOURCE: what proxy-wasm-cpp-host registers for each version.
const OF_SOME: [(&str, &[AbiVersion]); 7] = [
    ("env.proxy_get_configuration", &[AbiVersion::V0_1_0]),
    ("env.proxy_continue_request", &[AbiVersion::V0_1_0]),
    ("env.proxy_continue_response", &[AbiVersion::V0_1_0]),
    ("env.proxy_clear_route_cache", &[AbiVersion::V0_1_0]),
    (
        "env.proxy_continue_stream",
        &[AbiVersion::V0_2_0, AbiVersion::V0_2_1],
    ),
    (
        "env.proxy_close_stream",
        &[AbiVersion::V0_2_0, AbiVersion::V0_2_1],
    ),
    ("env.proxy_get_log_level", &[AbiVersion::V0_2_1]),
];

/// Callbacks that ABI 0.1.0 gives no end of the stream.
const SHORT_IN_0_1_0: [&str; 2] = ["proxy_on_request_headers", "proxy_on_response_headers"];

/// Finds every import that the host cannot satisfy, so that one look shows them all.
pub(super) fn imports(
    engine: &Engine,
    info: &ModuleInfo,
    abi: AbiVersion,
) -> Result<(), ModuleError> {
    let mut unknown = Vec::new();
    for import in &info.imports {
        let wanted = format!("{}.{}", import.module, import.name);
        let Some(function) = &import.function else {
            unknown.push(format!("{wanted} (not a function)"));
            continue;
        };
        let known_to = OF_SOME.iter().find(|(name, _)| *name == wanted);
        match engine.host_functions.get(&wanted) {
            None => unknown.push(format!("{wanted}: {function}")),
            Some(_) if known_to.is_some_and(|(_, abis)| !abis.contains(&abi)) => {
                unknown.push(format!("{wanted}: {function}; not in {abi}"));
            }
            Some(offered) if offered != function => {
                unknown.push(format!("{wanted}: {function}; the host has {offered}"));
            }
            Some(_) => {}
        }
    }
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(ModuleError::UnknownImports(unknown))
    }
}

/// Checks the exports that the host looks up, and no others.
pub(super) fn exports(info: &ModuleInfo, abi: AbiVersion) -> Result<(), ModuleError> {
    let exported = |name: &str| info.exports.iter().find(|export| export.name == name);
    let is_function = |name: &str| exported(name).is_some_and(|export| export.function.is_some());
    let is_reactor = is_function("_initialize");
    let looked_up = |name: &str| match name {
        "main" | "__main_void" => is_reactor,
        "_start" => !is_reactor,
        "proxy_on_memory_allocate" => !is_function("malloc"),
        "proxy_on_foreign_function" => abi != AbiVersion::V0_1_0,
        _ => true,
    };
    for (name, parameters, results) in CALLBACKS {
        let Some(found) = exported(name).and_then(|export| export.function.as_ref()) else {
            continue;
        };
        if !looked_up(name) {
            continue;
        }
        let is_short = abi == AbiVersion::V0_1_0 && SHORT_IN_0_1_0.contains(name);
        let parameters = if is_short {
            &["i32", "i32"]
        } else {
            *parameters
        };
        let owned = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let wanted = Function {
            parameters: owned(parameters),
            results: owned(results),
        };
        if *found != wanted {
            return Err(ModuleError::BadExport {
                name: (*name).to_owned(),
                wanted: as_envoy_prints(&wanted),
                found: as_envoy_prints(found),
            });
        }
    }
    let is_memory = |name: &str| exported(name).is_some_and(|export| export.function.is_none());
    if info.memory.is_none() || !is_memory("memory") {
        return Err(ModuleError::NoMemory);
    }
    if !is_function("malloc") && !is_function("proxy_on_memory_allocate") {
        return Err(ModuleError::NoAllocator);
    }
    Ok(())
}

fn as_envoy_prints(function: &Function) -> String {
    let list = |kinds: &[String]| {
        if kinds.is_empty() {
            "void".to_owned()
        } else {
            kinds.join(" ")
        }
    };
    format!(
        "{} -> {}",
        list(&function.parameters),
        list(&function.results)
    )
}
