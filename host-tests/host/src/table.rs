//! A list whose indices stay valid: nothing is ever removed.

/// Items that are named by their position.
#[derive(Clone, Debug)]
pub(crate) struct Table<T>(Vec<T>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Table<T> {
    pub(crate) fn push(&mut self, item: T) -> usize {
        self.0.push(item);
        self.0.len().saturating_sub(1)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "INVARIANT: an index comes from `push` on the same table, and nothing is removed"
    )]
    pub(crate) fn at(&self, index: usize) -> &T {
        &self.0[index]
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "INVARIANT: an index comes from `push` on the same table, and nothing is removed"
    )]
    pub(crate) fn at_mut(&mut self, index: usize) -> &mut T {
        &mut self.0[index]
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index)
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.0.iter_mut()
    }
}
