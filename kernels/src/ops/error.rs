use core::fmt;

/// An op was called with buffers that do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpError {
    /// Which argument.
    pub what: &'static str,
    /// Elements it needs (at least).
    pub expected: usize,
    /// Elements it has.
    pub found: usize,
}

impl OpError {
    /// Refuses a buffer that is not exactly as long as it should be.
    pub(crate) fn exact(what: &'static str, expected: usize, found: usize) -> Result<(), OpError> {
        if expected == found {
            Ok(())
        } else {
            Err(OpError { what, expected, found })
        }
    }

    /// Refuses a buffer that is shorter than it should be.
    pub(crate) fn at_least(what: &'static str, expected: usize, found: usize) -> Result<(), OpError> {
        if expected <= found {
            Ok(())
        } else {
            Err(OpError { what, expected, found })
        }
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} needs {} elements, has {}", self.what, self.expected, self.found)
    }
}

impl core::error::Error for OpError {}
