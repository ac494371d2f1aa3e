//! Tells the writes of a leader from those of one that was.

/// Remembers the newest epoch, so that nothing older is taken or overwrites anything.
///
/// One per key that leaders write. A reader hands every value's epoch to [`Self::admit`] and uses
/// the value only where that is `Ok`. A writer admits what is stored, asks [`Self::check`] with its
/// own epoch, and writes with the cas of that same read: whatever came in between refuses it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Fence {
    newest: u64,
}

/// Says that an epoch is older than one that was seen: its leader has been replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("epoch {epoch} is older than {newest}")]
pub struct Fenced {
    /// Is the epoch that was refused.
    pub epoch: u64,
    /// Is the newest that was seen.
    pub newest: u64,
}

impl Fence {
    /// Has seen nothing: the first epoch is admitted, whatever it is.
    #[must_use]
    pub const fn new() -> Self {
        Self { newest: 0 }
    }

    /// Takes the epoch of something that was read, and remembers it if it is the newest.
    ///
    /// # Errors
    /// A newer epoch was seen: [`Fenced`]. The value is a replaced leader's, to be ignored.
    pub const fn admit(&mut self, epoch: u64) -> Result<(), Fenced> {
        match self.check(epoch) {
            Ok(()) => {
                self.newest = epoch;
                Ok(())
            }
            Err(fenced) => Err(fenced),
        }
    }

    /// Says whether a write of this epoch would be admitted; changes nothing.
    ///
    /// # Errors
    /// A newer epoch was seen: [`Fenced`]. Whoever leads with the older one hands the newer to
    /// [`super::Lease::learn`] and writes again when it has an epoch above it.
    pub const fn check(&self, epoch: u64) -> Result<(), Fenced> {
        if epoch < self.newest {
            return Err(Fenced {
                epoch,
                newest: self.newest,
            });
        }
        Ok(())
    }

    /// Is the newest epoch that was admitted; zero: none.
    #[must_use]
    pub const fn newest(&self) -> u64 {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fence_refuses_what_is_older_and_remembers_nothing_of_it() {
        let mut fence = Fence::new();
        assert_eq!(fence.admit(3), Ok(()));
        assert_eq!(fence.admit(3), Ok(()));
        let fenced = Fenced {
            epoch: 2,
            newest: 3,
        };
        assert_eq!(fence.check(2), Err(fenced));
        assert_eq!(fence.admit(2), Err(fenced));
        assert_eq!(fence.newest(), 3);
        assert_eq!(fence.check(u64::MAX), Ok(()));
        assert_eq!(fence.newest(), 3);
        assert_eq!(fence.admit(u64::MAX), Ok(()));
        assert!(fence.admit(u64::MAX - 1).is_err());
    }
}
