//! Runs the blocks of a script, and logs every callback and every call.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use crate::abi::{self, Mistake, Returned};
use crate::cells::Cells;
use crate::script::{Argument, Block, Line, Out, What, parse};

/// Environment variables: the name of the case, and a script for what comes before any configuration.
const CASE: &str = "PROBE_CASE";
const EARLY_SCRIPT: &str = "PROBE_SCRIPT";

/// Buffers of the ABI.
const VM_CONFIGURATION: i64 = 6;
const PLUGIN_CONFIGURATION: i64 = 7;

/// What a plugin's contexts share.
#[derive(Debug, Default)]
struct Plugin {
    name: String,
    blocks: Rc<Vec<Block>>,
    configured: bool,
    streams: u32,
    last_stream: u32,
    variables: BTreeMap<String, i64>,
}

#[derive(Debug, Default)]
struct Context {
    root: u32,
    /// The how-manieth stream of its plugin; 0 is the plugin's own context.
    stream: u32,
    seen: BTreeMap<&'static str, u32>,
}

#[derive(Debug, Default)]
struct Probe {
    case: String,
    early: Rc<Vec<Block>>,
    allocating: bool,
    plugins: BTreeMap<u32, Plugin>,
    contexts: BTreeMap<u32, Context>,
}

thread_local! {
    static PROBE: RefCell<Probe> = RefCell::default();
}

/// Host functions call back into the module, so that nothing may be borrowed while one runs.
fn with<T>(look: impl FnOnce(&mut Probe) -> T) -> Option<T> {
    PROBE.with(|probe| {
        probe
            .try_borrow_mut()
            .ok()
            .map(|mut probe| look(&mut probe))
    })
}

/// Where a line of a script runs.
#[derive(Clone, Copy, Debug)]
struct Place {
    context: u32,
    root: u32,
    phase: &'static str,
}

/// The module is there; nothing else is.
pub(crate) fn initialize() {
    let variables = environment();
    let of = |name: &str| {
        let prefix = format!("{name}=");
        let found = variables.iter().find_map(|text| text.strip_prefix(&prefix));
        found.unwrap_or_default().to_owned()
    };
    let early = Rc::new(parse(&of(EARLY_SCRIPT)));
    with(|probe| {
        probe.case = of(CASE);
        probe.early = Rc::clone(&early);
    });
    enter(0, 0, "initialize", 1, &[]);
    early_block(&early, "initialize");
}

/// The host wants memory for an answer.
pub(crate) fn allocating(size: usize) {
    let early = with(|probe| {
        (!std::mem::replace(&mut probe.allocating, true)).then(|| Rc::clone(&probe.early))
    });
    let Some(Some(early)) = early else {
        return;
    };
    if early.iter().any(|block| block.phase == "malloc") {
        enter(0, 0, "malloc", 1, &[i64::try_from(size).unwrap_or(0)]);
        early_block(&early, "malloc");
    }
    with(|probe| probe.allocating = false);
}

fn early_block(early: &[Block], phase: &'static str) {
    let place = Place {
        context: 0,
        root: 0,
        phase,
    };
    for block in early.iter().filter(|block| block.phase == phase) {
        run(place, &block.lines, 0);
    }
}

/// A context begins.
pub(crate) fn create(context: u32, parent: u32) -> i32 {
    with(|probe| {
        let mut stream = 0;
        if parent == 0 {
            probe.plugins.insert(context, Plugin::default());
        } else if let Some(plugin) = probe.plugins.get_mut(&parent) {
            plugin.streams = plugin.streams.saturating_add(1);
            plugin.last_stream = context;
            stream = plugin.streams;
        }
        let root = if parent == 0 { context } else { parent };
        let seen = BTreeMap::new();
        probe
            .contexts
            .insert(context, Context { root, stream, seen });
    });
    if parent == 0 {
        configure(context);
    }
    callback(context, "context_create", &[i64::from(parent)], 0)
}

/// Takes over the script of a plugin once it can be read: the plugin's configuration, until then the
/// VM's.
pub(crate) fn configure(root: u32) {
    let known = with(|probe| {
        probe
            .plugins
            .get(&root)
            .is_some_and(|plugin| plugin.configured)
    });
    if known != Some(false) {
        return;
    }
    let own = configuration(PLUGIN_CONFIGURATION);
    let configured = own.is_some();
    let text = own
        .or_else(|| configuration(VM_CONFIGURATION))
        .unwrap_or_default();
    let blocks = Rc::new(parse(&text));
    let name = blocks
        .iter()
        .flat_map(|block| &block.lines)
        .find_map(|line| match &line.what {
            What::Name(name) => Some(name.clone()),
            _ => None,
        });
    with(|probe| {
        if let Some(plugin) = probe.plugins.get_mut(&root) {
            plugin.name = name.unwrap_or_default();
            plugin.blocks = blocks;
            plugin.configured = configured;
        }
    });
}

/// Forgets a context.
pub(crate) fn delete(context: u32) {
    callback(context, "delete", &[], 0);
    with(|probe| probe.contexts.remove(&context));
}

/// Logs a callback, runs its block, and returns what the block says, else `default`.
pub(crate) fn callback(context: u32, phase: &'static str, arguments: &[i64], default: i32) -> i32 {
    let found = with(|probe| {
        let (root, stream, occurrence) = match probe.contexts.get_mut(&context) {
            Some(known) => {
                let count = known.seen.entry(phase).or_default();
                *count = count.saturating_add(1);
                (known.root, known.stream, *count)
            }
            None => (context, 0, 1),
        };
        let blocks = probe
            .plugins
            .get(&root)
            .map(|plugin| Rc::clone(&plugin.blocks));
        (root, stream, occurrence, blocks.unwrap_or_default())
    });
    let Some((root, stream, occurrence, blocks)) = found else {
        return default;
    };
    enter(context, root, phase, occurrence, arguments);
    let place = Place {
        context,
        root,
        phase,
    };
    let block = blocks
        .iter()
        .filter(|block| {
            block.phase == phase
                && block.occurrence.is_none_or(|number| number == occurrence)
                && block.stream.is_none_or(|number| number == stream)
        })
        .max_by_key(|block| (block.stream.is_some(), block.occurrence.is_some()));
    block.map_or(default, |block| run(place, &block.lines, default))
}

fn enter(context: u32, root: u32, phase: &str, occurrence: u32, arguments: &[i64]) {
    let mut text = format!("{context} {phase}");
    if occurrence > 1 {
        let _ = write!(text, "#{occurrence}");
    }
    let arguments: Vec<String> = arguments.iter().map(i64::to_string).collect();
    let _ = write!(text, "({})", arguments.join(", "));
    log(root, &text);
}

fn run(place: Place, lines: &[Line], default: i32) -> i32 {
    let mut answer = default;
    for line in lines {
        match &line.what {
            What::Call {
                variable,
                function,
                arguments,
            } => call(place, &line.text, variable.as_deref(), function, arguments),
            What::Exit(code) => {
                abi::exit(*code);
                say(place, &line.text, "came back");
            }
            What::Mistake(why) => say(place, &line.text, &format!("bad script: {why}")),
            What::Name(_) => {}
            What::Return(value) => answer = *value,
            What::Say(text) => say(place, "say", text),
            What::Trap => abi::trap(),
        }
    }
    answer
}

fn say(place: Place, text: &str, result: &str) {
    let Place { context, phase, .. } = place;
    log(
        place.root,
        &format!("{context} {phase}: {text} -> {result}"),
    );
}

fn call(place: Place, text: &str, variable: Option<&str>, function: &str, arguments: &[Argument]) {
    let mut cells = Cells::default();
    let mut numbers = Vec::new();
    for argument in arguments {
        cells.lay(argument, |name| value(place, name), &mut numbers);
    }
    let mut result = match abi::call(function, &numbers) {
        Ok(Returned::Status(status)) => status_name(status),
        Ok(Returned::Errno(errno)) => format!("errno {errno}"),
        Err(Mistake::Name) => "bad script: no such function".to_owned(),
        Err(Mistake::Arguments) => format!("bad script: {} arguments", numbers.len()),
    };
    cells.show(&mut result);
    if let (Some(name), Some(number)) = (variable, cells.number()) {
        with(|probe| {
            if let Some(plugin) = probe.plugins.get_mut(&place.root) {
                plugin.variables.insert(name.to_owned(), number);
            }
        });
    }
    say(place, text, &result);
}

fn value(place: Place, name: &str) -> i64 {
    let found = with(|probe| {
        let plugin = probe.plugins.get(&place.root)?;
        match name {
            "self" => Some(i64::from(place.context)),
            "root" => Some(i64::from(place.root)),
            "stream" => Some(i64::from(plugin.last_stream)),
            name => plugin.variables.get(name).copied(),
        }
    });
    found.flatten().unwrap_or(-1)
}

fn status_name(status: i32) -> String {
    let name = match status {
        0 => "OK",
        1 => "NOT_FOUND",
        2 => "BAD_ARGUMENT",
        3 => "SERIALIZATION_FAILURE",
        4 => "PARSE_FAILURE",
        5 => "BAD_EXPRESSION",
        6 => "INVALID_MEMORY_ACCESS",
        7 => "EMPTY",
        8 => "CAS_MISMATCH",
        9 => "RESULT_MISMATCH",
        10 => "INTERNAL_FAILURE",
        11 => "BROKEN_CONNECTION",
        12 => "UNIMPLEMENTED",
        other => return format!("status {other}"),
    };
    name.to_owned()
}

/// Every line begins with the case and the plugin, by which a log of many cases is sorted.
fn log(root: u32, text: &str) {
    const INFO: i64 = 2;
    let heading = with(|probe| {
        let plugin = probe.plugins.get(&root).map(|plugin| plugin.name.as_str());
        let plugin = plugin.filter(|name| !name.is_empty()).unwrap_or("-");
        format!("probe {} {plugin} {text}", probe.case)
    });
    let line = heading.unwrap_or_else(|| format!("probe ? - {text}"));
    let mut numbers = vec![INFO];
    let mut cells = Cells::default();
    cells.lay(&Argument::Text(line.into_bytes()), |_| 0, &mut numbers);
    // A host that refuses to log could not be told of it.
    let _ = abi::call("log", &numbers);
}

fn environment() -> Vec<String> {
    let mut sizes = Cells::default();
    let mut numbers = Vec::new();
    let out = Argument::Out {
        kind: Out::U32,
        shown: true,
    };
    sizes.lay(&out, |_| 0, &mut numbers);
    sizes.lay(&out, |_| 0, &mut numbers);
    let read = abi::call("environ_sizes_get", &numbers);
    let number = |index| Some(u32::from_le_bytes(*sizes.memory(index)?.first_chunk()?));
    let (Ok(Returned::Errno(0)), Some(count), Some(size)) = (read, number(0), number(1)) else {
        return Vec::new();
    };
    let mut cells = Cells::default();
    let mut numbers = Vec::new();
    for bytes in [count.saturating_mul(4), size] {
        let kind = Out::Bytes(bytes);
        cells.lay(&Argument::Out { kind, shown: true }, |_| 0, &mut numbers);
    }
    if abi::call("environ_get", &numbers) != Ok(Returned::Errno(0)) {
        return Vec::new();
    }
    let texts = cells.memory(1).unwrap_or_default().split(|byte| *byte == 0);
    texts
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect()
}

/// Reads a configuration; `None` where the host has none to show.
fn configuration(buffer: i64) -> Option<String> {
    let mut cells = Cells::default();
    let mut numbers = vec![buffer, 0, i64::from(u32::MAX)];
    let out = Argument::Out {
        kind: Out::Data,
        shown: true,
    };
    cells.lay(&out, |_| 0, &mut numbers);
    let read = abi::call("get_buffer_bytes", &numbers);
    (read == Ok(Returned::Status(0))).then_some(())?;
    let memory = cells.memory(0)?;
    let number = |at: usize| Some(u32::from_le_bytes(*memory.get(at..)?.first_chunk()?));
    let bytes = abi::bytes_at(number(0)?, number(4)?)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
