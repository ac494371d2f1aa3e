//! What can be called.

use tidegate_proxy::{
    HostError, clock, entropy,
    headers::Map,
    log::{self, Level},
    metric::{Counter, Gauge},
    property::Property,
};

/// Is a header that no request and no response of a measurement has, before this guest sets it.
const HEADER: &str = "x-tidegate-priced";

/// Is what headers and properties are set to: as long as an endpoint's address.
const VALUE: &[u8] = b"127.0.0.1:12345";

/// Is a function of the host with its arguments.
#[derive(Debug)]
pub(crate) enum Call {
    AddAndRemove,
    Clock,
    Counter,
    Gauge,
    Header(String),
    LogLevel,
    Pairs,
    Property(Property<Vec<u8>>),
    Random,
    Remove,
    Set,
    SetProperty(Property<Vec<u8>>),
}

impl Call {
    /// Reads a call's name and argument; `None` where there is no such call or it lacks its argument.
    pub(crate) fn parse(name: &str, argument: Option<&str>) -> Option<Self> {
        Some(match name {
            "add_and_remove" => Self::AddAndRemove,
            "clock" => Self::Clock,
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "header" => Self::Header(argument?.to_owned()),
            "log_level" => Self::LogLevel,
            "pairs" => Self::Pairs,
            "property" => Self::Property(Property::new(path(&argument?.replace('.', "\0")))),
            "random" => Self::Random,
            "remove" => Self::Remove,
            "set" => Self::Set,
            // A path of one segment, which may have dots in it.
            "set_property" => Self::SetProperty(Property::new(path(argument?))),
            _ => return None,
        })
    }

    /// Calls once.
    ///
    /// # Errors
    /// The host said no.
    pub(crate) fn run(
        &self,
        map: Map,
        counter: Option<Counter>,
        gauge: Option<Gauge>,
    ) -> Result<(), HostError> {
        match self {
            Self::AddAndRemove => {
                map.add(HEADER, VALUE)?;
                map.remove(HEADER.as_bytes())
            }
            Self::Clock => clock::wall_time().map(|_| ()),
            Self::Counter => counter.map_or(Ok(()), |counter| counter.increment(1)),
            Self::Gauge => gauge.map_or(Ok(()), |gauge| gauge.set(1)),
            Self::Header(name) => map.value(name).map(|_| ()),
            Self::LogLevel => log::is_enabled(Level::Debug).map(|_| ()),
            Self::Pairs => map.read().map(|_| ()),
            Self::Property(property) => property.read().map(|_| ()),
            Self::Random => entropy::draws::<1>().map(|_| ()),
            Self::Remove => map.remove(HEADER.as_bytes()),
            Self::Set => map.set(HEADER, VALUE),
            Self::SetProperty(property) => property.write(VALUE),
        }
    }
}

/// Keeps a path for as long as the VM lives: there is one per configuration.
fn path(path: &str) -> &'static [u8] {
    Box::leak(path.as_bytes().to_vec().into_boxed_slice())
}
