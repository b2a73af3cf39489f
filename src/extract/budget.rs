//! What one mail may still cost while its containers are opened. Containers within containers draw on the same budget,
//! so a small file that unpacks to a large one, over and over, ends where the limit says.

use super::Problem;

/// Frames of recursion are bounded by this whatever the settings say.
const DEEPEST: usize = 64;

/// What the containers of one mail may unpack to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Containers within containers; 0 opens none. At most 64 are opened.
    pub depth: usize,
    /// Files, over all containers.
    pub count: usize,
    /// Bytes of all files and bodies, and of what is unpacked on the way to them.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 16, count: 1_000, bytes: 256 * 1024 * 1024 }
    }
}

/// What is left of the [`Limits`] for one mail.
#[derive(Debug)]
pub struct Budget {
    depth: usize,
    count: usize,
    bytes: u64,
}

impl Budget {
    pub fn new(limits: Limits) -> Self {
        Self { depth: limits.depth.min(DEEPEST), count: limits.count, bytes: limits.bytes }
    }

    /// Opens a container: to be called around the walk of what is inside, with [`Budget::leave`] after it.
    pub fn enter(&mut self) -> Result<(), Problem> {
        self.depth = self.depth.checked_sub(1).ok_or(Problem::TooDeep)?;
        Ok(())
    }

    /// Only after an [`Budget::enter`] that succeeded.
    pub fn leave(&mut self) {
        self.depth += 1;
    }

    /// Pays for one file.
    pub fn take_file(&mut self, bytes: usize) -> Result<(), Problem> {
        let count = self.count.checked_sub(1).ok_or(Problem::TooMany)?;
        self.take_bytes(bytes)?;
        self.count = count;
        Ok(())
    }

    /// Pays for bytes that are no file: a body, or the way to one. Nothing is taken where not all can be.
    pub fn take_bytes(&mut self, bytes: usize) -> Result<(), Problem> {
        let bytes = u64::try_from(bytes).map_err(|_| Problem::TooLarge)?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or(Problem::TooLarge)?;
        Ok(())
    }

    pub fn files_left(&self) -> usize {
        self.count
    }

    pub fn bytes_left(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_where_its_limits_say_and_a_refusal_costs_nothing() {
        let mut budget = Budget::new(Limits { depth: 1, count: 2, bytes: 10 });
        assert_eq!(budget.take_file(11), Err(Problem::TooLarge));
        assert_eq!(budget.take_file(6), Ok(()));
        assert_eq!(budget.take_bytes(5), Err(Problem::TooLarge));
        assert_eq!(budget.take_file(4), Ok(()));
        assert_eq!(budget.take_file(0), Err(Problem::TooMany));
        assert_eq!(budget.enter(), Ok(()));
        assert_eq!(budget.enter(), Err(Problem::TooDeep));
        budget.leave();
        assert_eq!(budget.enter(), Ok(()));
    }

    #[test]
    fn no_setting_allows_unbounded_recursion() {
        let mut budget = Budget::new(Limits { depth: usize::MAX, ..Limits::default() });
        assert_eq!((0..100).filter(|_| budget.enter().is_ok()).count(), DEEPEST);
    }
}
