//! Draws candidates in constant time, all alike or by weight.

use alloc::vec::Vec;

use super::Prepared;

/// Is 2^−53: the upper 53 bits of a draw times this is a number from 0 to below 1.
const UNIT: f64 = 1.0 / 9_007_199_254_740_992.0;

/// Is the candidates of the own zone, or those of the others.
#[derive(Clone, Debug)]
pub(super) struct Group {
    candidates: Vec<Prepared>,
    /// Are the columns of the alias method; none where all weights are alike.
    columns: Vec<Column>,
    /// Are the columns that are too low, and those that are too high, while columns are made.
    low: Vec<u32>,
    high: Vec<u32>,
}

/// Is as much of the probability as all have: up to `own` the column's candidate, above it another.
#[derive(Clone, Copy, Debug)]
struct Column {
    own: f64,
    other: u32,
}

impl Group {
    pub(super) const EMPTY: Self = Self {
        candidates: Vec::new(),
        columns: Vec::new(),
        low: Vec::new(),
        high: Vec::new(),
    };

    pub(super) fn clear(&mut self) {
        self.candidates.clear();
        self.columns.clear();
    }

    pub(super) fn push(&mut self, candidate: Prepared) {
        self.candidates.push(candidate);
    }

    pub(super) const fn len(&self) -> usize {
        self.candidates.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Makes the columns, once all candidates are there.
    pub(super) fn finish(&mut self) {
        let mut weights = self.candidates.iter().map(|candidate| candidate.weight);
        let Some(first) = weights.next() else {
            return;
        };
        let sum: f64 = first + weights.clone().sum::<f64>();
        // All come from the same division, so what is alike is so to the bit.
        if weights.all(|weight| weight.to_bits() == first.to_bits()) {
            return;
        }
        let mean = sum / length(self.candidates.len());
        self.low.clear();
        self.high.clear();
        for (place, candidate) in (0_u32..).zip(&self.candidates) {
            let own = candidate.weight / mean;
            self.columns.push(Column { own, other: place });
            let side = if own < 1.0 {
                &mut self.low
            } else {
                &mut self.high
            };
            side.push(place);
        }
        while let (Some(low), Some(high)) = (self.low.pop(), self.high.pop()) {
            let missing = match self.columns.get_mut(index(low)) {
                Some(column) => {
                    column.other = high;
                    1.0 - column.own
                }
                None => 0.0,
            };
            if let Some(column) = self.columns.get_mut(index(high)) {
                column.own -= missing;
                let side = if column.own < 1.0 {
                    &mut self.low
                } else {
                    &mut self.high
                };
                side.push(high);
            }
        }
        // What is left over is so by rounding only: it is full.
        for place in self.low.drain(..).chain(self.high.drain(..)) {
            if let Some(column) = self.columns.get_mut(index(place)) {
                column.own = 1.0;
            }
        }
    }

    /// Draws a candidate; `None` where there is none.
    pub(super) fn draw(&self, draw: u64) -> Option<Drawn<'_>> {
        let (place, coin) = split(draw, self.candidates.len());
        let (place, coin) = match self.columns.get(place) {
            // What is left of the number within its part of the column is as uniform as it was.
            Some(column) if coin < column.own => (place, coin / column.own),
            Some(column) => (
                index(column.other),
                (coin - column.own) / (1.0 - column.own),
            ),
            None => (place, coin),
        };
        Some(Drawn {
            candidate: self.candidates.get(place)?,
            place,
            coin,
        })
    }

    /// Draws a second candidate; `None` where it is the same one, or there is no other.
    pub(super) fn draw_second(&self, first: &Drawn<'_>, draw: u64) -> Option<&Prepared> {
        if !self.columns.is_empty() {
            let second = self.draw(draw)?;
            return (second.place != first.place).then_some(second.candidate);
        }
        let (place, _) = split(draw, self.candidates.len().saturating_sub(1));
        let place = if place < first.place {
            place
        } else {
            place.saturating_add(1)
        };
        self.candidates.get(place)
    }
}

/// Is a candidate that was drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawn<'a> {
    pub(super) candidate: &'a Prepared,
    place: usize,
    /// Is a number from 0 to below 1 that says nothing about which candidate it is.
    pub(super) coin: f64,
}

/// Splits a draw into an index below `len` (0 where that is 0) and a number from 0 to below 1.
fn split(draw: u64, len: usize) -> (usize, f64) {
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    let product = u128::from(draw).saturating_mul(u128::from(len));
    let [high, low] = [product >> 64, product & u128::from(u64::MAX)]
        .map(|half| u64::try_from(half).unwrap_or(u64::MAX));
    let coin = (low >> 11) as f64 * UNIT;
    (usize::try_from(high).unwrap_or(usize::MAX), coin)
}

/// Makes a draw of a number from 0 to below 1: its 53 bits are the upper ones.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number is from 0 to below 2^53"
)]
pub(super) const fn scaled(coin: f64) -> u64 {
    ((coin / UNIT) as u64) << 11
}

/// Is how many there are, as a float: exact below 2^53.
const fn length(len: usize) -> f64 {
    len as f64
}

/// Is an index into a table.
fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}
