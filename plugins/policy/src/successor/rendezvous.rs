//! The highest score of a session among the endpoints: rendezvous hashing with weights.

use core::cmp::Ordering;

use super::Candidate;
use crate::digest::xxh64;

/// Is how many binary places a logarithm has. 63 bits hold it with its at most 65 whole ones.
const LOG_BITS: u32 = 56;

/// Says where a session is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Placement<'a> {
    /// By its own endpoint, which is in the set: the cookie stays.
    Kept,
    /// By this one from now on: its own is not in the set. The cookie must name it, or the return
    /// of the former endpoint would pull the session back.
    Moved(Candidate<'a>),
    /// Nobody can take it: the proxy balances, and the cookie stays.
    Nobody,
}

/// Decides where a session goes whose cookie names `own`, among the available endpoints.
///
/// `own` in the set keeps the session, whatever its weight: 0 too, which only takes no new ones.
/// O(endpoints), no allocation.
pub fn place<'a>(
    own: &[u8],
    nonce: [u8; 8],
    available: impl IntoIterator<Item = Candidate<'a>>,
) -> Placement<'a> {
    let mut kept = false;
    let others = available.into_iter().take_while(|candidate| {
        kept = candidate.name == own;
        !kept
    });
    let best = successor(nonce, others);
    match best {
        _ if kept => Placement::Kept,
        Some(candidate) => Placement::Moved(candidate),
        None => Placement::Nobody,
    }
}

/// Picks the endpoint with the session's highest score; `None` where none has a weight.
///
/// The order of `available` has no part in it. Adding an endpoint moves sessions only to it, and
/// removing one only its own. An endpoint gets the share `weight / sum of weights` of all nonces;
/// the logarithm is cut at 2⁻⁵⁶, which changes a share by less than 2⁻²² of itself at any weights
/// whose sum fits 32 bits.
/// O(endpoints), one hash each and a logarithm for about `ln(endpoints)` of them, no allocation.
#[must_use]
pub fn successor<'a>(
    nonce: [u8; 8],
    available: impl IntoIterator<Item = Candidate<'a>>,
) -> Option<Candidate<'a>> {
    let seed = u64::from_le_bytes(nonce);
    let mut best: Option<Runner<'a>> = None;
    for candidate in available {
        if candidate.weight == 0 {
            continue;
        }
        let score = xxh64(candidate.name, seed);
        match &best {
            Some(leader) if leader.beats_surely(score, candidate.weight) => {}
            Some(leader) => {
                let runner = Runner::new(candidate, score);
                if runner.compare(leader).is_lt() {
                    best = Some(runner);
                }
            }
            None => best = Some(Runner::new(candidate, score)),
        }
    }
    best.map(|leader| leader.candidate)
}

/// Is the nonce of a key that has no session: for the successor of an endpoint that a table named.
///
/// It is the hash that the table takes: hash once, then `pick_hashed` and `to_le_bytes`.
#[must_use]
pub fn key_nonce(key: &[u8]) -> [u8; 8] {
    xxh64(key, 0).to_le_bytes()
}

/// Takes part in the race for a session.
struct Runner<'a> {
    candidate: Candidate<'a>,
    score: u64,
    /// Is `−log2((score + ½) / 2⁶⁴)` in units of 2⁻⁵⁶; the time of arrival, times the weight.
    exponent: u64,
}

impl<'a> Runner<'a> {
    fn new(candidate: Candidate<'a>, score: u64) -> Self {
        Self {
            candidate,
            score,
            exponent: negative_log2(score),
        }
    }

    /// Says, without a logarithm, that another one arrives later. Never where it does not.
    ///
    /// `−log2(1 − x) ≥ x·log2(e) ≥ x`, and `1 − score/2⁶⁴` is `x` but for half a unit.
    fn beats_surely(&self, score: u64, weight: u32) -> bool {
        // Rounded down, and one less for the half unit and the cut of the own exponent.
        let least =
            (u64::MAX.wrapping_sub(score) >> (64_u32.wrapping_sub(LOG_BITS))).saturating_sub(1);
        scaled(least, self.candidate.weight) > scaled(self.exponent, weight)
    }

    /// Orders by arrival, then by the score itself, then by name.
    fn compare(&self, other: &Self) -> Ordering {
        scaled(self.exponent, other.candidate.weight)
            .cmp(&scaled(other.exponent, self.candidate.weight))
            .then_with(|| other.score.cmp(&self.score))
            .then_with(|| self.candidate.name.cmp(other.candidate.name))
            .then_with(|| other.candidate.weight.cmp(&self.candidate.weight))
    }
}

/// Is `exponent · weight`, which never wraps: 63 bits and 32.
fn scaled(exponent: u64, weight: u32) -> u128 {
    u128::from(exponent).wrapping_mul(u128::from(weight))
}

/// Is `−log2((score + ½) / 2⁶⁴)` in units of 2⁻⁵⁶, at most 2 units too large.
///
/// The whole places are the leading zeros. Each binary place after them is whether the square of
/// the rest, from 1 to 2, reaches 2.
fn negative_log2(score: u64) -> u64 {
    // 2·score + 1 of 2⁶⁵, moved up until its first bit stands in front.
    let doubled = (u128::from(score) << 1) | 1;
    let zeros = doubled.leading_zeros().wrapping_sub(63);
    let shifted = doubled << zeros >> 1;
    // INVARIANT: from 2⁶³ to below 2⁶⁴, as 1 to below 2. The bit that falls off is the half unit.
    let mut rest = u64::try_from(shifted).unwrap_or(u64::MAX);
    let mut log = 0_u64;
    for _ in 0..LOG_BITS {
        let square = u128::from(rest).wrapping_mul(u128::from(rest));
        // 2¹²⁶ is 1 and 2¹²⁷ is 2.
        let carry = square >> 127;
        log = (log << 1) | u64::from(carry != 0);
        let kept = if carry == 0 {
            square >> 63
        } else {
            square >> 64
        };
        rest = u64::try_from(kept).unwrap_or(u64::MAX);
    }
    // log2 of the value is `log − zeros − 1` with the rest as the binary places.
    (u64::from(zeros).wrapping_add(1) << LOG_BITS).wrapping_sub(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At one bit, half, quarter: whole answers; elsewhere the logarithm of another implementation.
    #[test]
    fn logarithm_is_right_to_its_last_places() {
        let unit = f64::from(2_u32).powi(56);
        for score in [
            0,
            1,
            2,
            3,
            1 << 20,
            u64::MAX / 3,
            1 << 62,
            (1 << 63) - 1,
            1 << 63,
            u64::MAX - (1 << 40),
            u64::MAX - 1,
            u64::MAX,
        ] {
            let (ours, rest) = (
                negative_log2(score) as f64 / unit,
                (u64::MAX - score) as f64 + 0.5,
            );
            let two_to_64 = f64::from(2_u32).powi(64);
            let theirs = if score >= 1 << 63 {
                -(-rest / two_to_64).ln_1p() / core::f64::consts::LN_2
            } else {
                let value = score as f64 + 0.5;
                64.0 - value.log2()
            };
            // 2⁻⁵⁵ of ours. Theirs is right to 53 bits: of itself near 1, of 64 below a half.
            let theirs_up_to = if score >= 1 << 63 { theirs } else { 64.0 };
            let bound = 2.0 / unit + theirs_up_to * f64::EPSILON;
            assert!((ours - theirs).abs() <= bound, "{score}: {ours} {theirs}");
        }
        assert_eq!(negative_log2(0), 65 << 56);
    }

    #[test]
    fn short_cut_never_contradicts_the_logarithm() {
        let name = b"";
        let mut state = 1_u64;
        for round in 0..20_000_u32 {
            state = xxh64(&state.to_le_bytes(), 0);
            let score = state >> (round % 8) | !(u64::MAX >> (round % 24));
            let (weight, other) = (1 + round % 7, 1 + round % 5);
            let leader = Runner::new(Candidate { name, weight }, score);
            let challenger = xxh64(&score.to_le_bytes(), 1) | !(u64::MAX >> (round % 30));
            let runner = Runner::new(
                Candidate {
                    name,
                    weight: other,
                },
                challenger,
            );
            if leader.beats_surely(challenger, other) {
                assert!(leader.compare(&runner).is_lt(), "{score} {challenger}");
            }
        }
    }
}
