//! Something of which all instances together may have so much: to each its part. Who has something to share out makes a desk and
//! follows its part; who carries word between the machines works at the desks. Memory only.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

/// A number that changes, read whenever it is needed.
pub type Count = Arc<dyn Fn() -> usize + Send + Sync>;

/// What is shared out.
#[derive(Clone)]
pub struct Ration {
    /// The same on every instance that shares it.
    pub name: Arc<str>,
    /// How much there is for all.
    pub total: Count,
    /// The most instances there will ever be at once.
    pub size_max: usize,
}

impl Ration {
    /// What each may have without knowing of the others.
    #[must_use]
    pub fn alone(&self) -> usize {
        (self.total)().checked_div(self.size_max).unwrap_or(0)
    }
}

impl fmt::Debug for Ration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ration")
            .field("name", &self.name)
            .field("total", &(self.total)())
            .field("size_max", &self.size_max)
            .finish()
    }
}

/// An instance's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Part {
    /// Nobody has been asked yet: nothing may be used.
    #[default]
    Unknown,
    /// As the instances agreed.
    Agreed {
        /// How much.
        amount: usize,
        /// Among how many, this one included.
        among: usize,
    },
    /// The others cannot be reached: what is safe without them.
    Alone {
        /// How much.
        amount: usize,
    },
}

impl Part {
    /// How much may be used.
    #[must_use]
    pub const fn amount(self) -> usize {
        match self {
            Self::Unknown => 0,
            Self::Agreed { amount, .. } | Self::Alone { amount } => amount,
        }
    }
}

/// What whoever carries word of it between the machines works with.
pub struct RationDesk {
    /// What is shared out.
    pub ration: Ration,
    /// How much is in use or may be taken into use without asking; asked before each word to the others.
    pub using: Count,
    /// Where this instance's part is told. Dropped: there is nobody to ask.
    pub tell: watch::Sender<Part>,
}

impl RationDesk {
    /// A desk, and where to follow the part.
    #[must_use]
    pub fn new(ration: Ration, using: Count) -> (Self, watch::Receiver<Part>) {
        let (tell, part) = watch::channel(Part::Unknown);
        let desk = Self {
            ration,
            using,
            tell,
        };
        (desk, part)
    }
}

impl fmt::Debug for RationDesk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RationDesk")
            .field("ration", &self.ration)
            .finish_non_exhaustive()
    }
}
