//! Metrics: values are shared by all VMs, ids belong to one VM.

use std::collections::BTreeMap;

use crate::profile::Rules;
use crate::report::{MetricKind, MetricValue};
use crate::status::Status;
use crate::table::Table;

/// Values of all metrics.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    values: Table<Metric>,
    by_name: BTreeMap<(String, MetricKind), usize>,
}

#[derive(Debug)]
struct Metric {
    value: MetricValue,
}

/// Metrics that one VM defined. Ids count up in steps of four; the low two bits are the kind. Every
/// definition takes a new id, also of a name that is known.
#[derive(Debug, Default)]
pub(crate) struct MetricIds {
    kinds: [Vec<usize>; 3],
}

const KIND_BITS: u32 = 2;
const KIND_MASK: u32 = 0b11;

const fn kind_of(raw: u32) -> Option<MetricKind> {
    match raw {
        0 => Some(MetricKind::Counter),
        1 => Some(MetricKind::Gauge),
        2 => Some(MetricKind::Histogram),
        _ => None,
    }
}

impl Metrics {
    pub(crate) fn define(
        &mut self,
        ids: &mut MetricIds,
        raw_kind: u32,
        name: &[u8],
    ) -> Option<u32> {
        let kind = kind_of(raw_kind)?;
        let list = ids.kinds.get_mut(raw_kind as usize)?;
        let number = u32::try_from(list.len()).ok()?.checked_add(1)?;
        let id = number.checked_shl(KIND_BITS)? | raw_kind;
        let name = String::from_utf8_lossy(name).into_owned();
        let values = &mut self.values;
        let index = *self.by_name.entry((name, kind)).or_insert_with(|| {
            values.push(Metric {
                value: match kind {
                    MetricKind::Counter => MetricValue::Counter(0),
                    MetricKind::Gauge => MetricValue::Gauge(0),
                    MetricKind::Histogram => MetricValue::Histogram {
                        count: 0,
                        sum: 0,
                        min: 0,
                        max: 0,
                    },
                },
            })
        });
        list.push(index);
        Some(id)
    }

    fn find(&mut self, ids: &MetricIds, id: u32) -> Option<&mut MetricValue> {
        let list = ids.kinds.get((id & KIND_MASK) as usize)?;
        let number = (id >> KIND_BITS).checked_sub(1)?;
        let index = *list.get(number as usize)?;
        Some(&mut self.values.at_mut(index).value)
    }

    pub(crate) fn increment(
        &mut self,
        rules: &Rules,
        ids: &MetricIds,
        id: u32,
        delta: i64,
    ) -> Status {
        if !matches!(
            kind_of(id & KIND_MASK),
            Some(MetricKind::Counter | MetricKind::Gauge)
        ) {
            return Status::BadArgument;
        }
        match self.find(ids, id) {
            Some(MetricValue::Counter(value))
                if delta > 0 || (delta == 0 && rules.counters_take_zero) =>
            {
                *value = value.wrapping_add(delta.unsigned_abs());
                Status::Ok
            }
            Some(MetricValue::Gauge(value)) => {
                *value = value.wrapping_add_signed(delta);
                Status::Ok
            }
            Some(_) => Status::BadArgument,
            None => Status::NotFound,
        }
    }

    pub(crate) fn record(
        &mut self,
        rules: &Rules,
        ids: &MetricIds,
        id: u32,
        recorded: u64,
    ) -> Status {
        match self.find(ids, id) {
            Some(MetricValue::Counter(value)) => {
                *value = if rules.counters_add_what_is_recorded {
                    value.wrapping_add(recorded)
                } else {
                    recorded
                };
            }
            Some(MetricValue::Gauge(value)) => *value = recorded,
            Some(MetricValue::Histogram {
                count,
                sum,
                min,
                max,
            }) => {
                *min = if *count == 0 {
                    recorded
                } else {
                    (*min).min(recorded)
                };
                *max = (*max).max(recorded);
                *count = count.saturating_add(1);
                *sum = sum.saturating_add(recorded);
            }
            None => return Status::NotFound,
        }
        Status::Ok
    }

    pub(crate) fn get(&mut self, ids: &MetricIds, id: u32) -> Result<u64, Status> {
        if !matches!(
            kind_of(id & KIND_MASK),
            Some(MetricKind::Counter | MetricKind::Gauge)
        ) {
            return Err(Status::BadArgument);
        }
        match self.find(ids, id) {
            Some(MetricValue::Counter(value) | MetricValue::Gauge(value)) => Ok(*value),
            Some(MetricValue::Histogram { .. }) => Err(Status::BadArgument),
            None => Err(Status::NotFound),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, MetricKind, MetricValue)> {
        self.by_name.iter().map(|((name, kind), index)| {
            (name.as_str(), *kind, self.values.at(*index).value.clone())
        })
    }
}
