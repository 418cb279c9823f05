//! How many connections a pool may have now: what is configured or the fleet grants, and never what the server has to keep for
//! others. Pure; no IO.

use lamplighter_core::fleet::Part;

use crate::config::{self, OWN_CONNECTIONS};

/// What bounds a pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ceiling {
    own: Own,
    /// `@@max_connections`, once it was seen.
    server: Option<usize>,
    /// How many of these are for others.
    reserve: usize,
}

/// How many this instance may have by itself.
#[derive(Debug, Clone, Copy)]
enum Own {
    /// `max_server_connections`.
    Fixed(usize),
    /// A part of `fleet_budget`.
    Part {
        budget: usize,
        size_max: usize,
        part: Part,
    },
}

impl Ceiling {
    pub(super) fn new(limits: &config::Pool) -> Self {
        let fixed = Own::Fixed(limits.max_server_connections);
        let part = |budget| Own::Part {
            budget,
            size_max: limits.fleet_size_max,
            part: Part::Unknown,
        };
        Self {
            own: limits.fleet_budget.map_or(fixed, part),
            server: None,
            reserve: limits.server_reserve,
        }
    }

    pub(super) const fn grant(&mut self, granted: Part) {
        if let Own::Part { part, .. } = &mut self.own {
            *part = granted;
        }
    }

    pub(super) const fn part(&self) -> Option<Part> {
        match self.own {
            Own::Fixed(_) => None,
            Own::Part { part, .. } => Some(part),
        }
    }

    pub(super) const fn note_server(&mut self, max_connections: usize) {
        self.server = Some(max_connections);
    }

    /// What the server leaves to all of us; one at least, because a server that keeps all for others serves nobody.
    fn left(&self) -> usize {
        self.server
            .map_or(usize::MAX, |max| max.saturating_sub(self.reserve).max(1))
    }

    /// What all instances share, but for the connections that each has beside its pools.
    pub(super) fn shared_out(&self) -> usize {
        match self.own {
            Own::Fixed(_) => 0,
            Own::Part {
                budget, size_max, ..
            } => {
                let beside = size_max.saturating_mul(OWN_CONNECTIONS);
                budget.min(self.left()).saturating_sub(beside)
            }
        }
    }

    /// How many there may be.
    pub(super) fn limit(&self) -> usize {
        let own = match self.own {
            Own::Fixed(own) => own,
            Own::Part { part, .. } => part.amount(),
        };
        own.min(self.left())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_counts_and_the_server_keeps_its_reserve() {
        let mut ceiling = Ceiling::new(&config::Pool::default());
        assert_eq!(ceiling.limit(), 20, "as configured");
        ceiling.note_server(25);
        assert_eq!(ceiling.limit(), 15, "10 are for others");
        ceiling.note_server(5);
        assert_eq!(ceiling.limit(), 1);
        ceiling.note_server(1000);
        assert_eq!(ceiling.limit(), 20);
    }

    #[test]
    fn a_part_of_the_fleets_is_none_until_it_is_known() {
        let mut ceiling = Ceiling::new(&config::Pool {
            fleet_budget: Some(400),
            fleet_size_max: 50,
            ..config::Pool::default()
        });
        assert_eq!((ceiling.limit(), ceiling.shared_out()), (0, 200));
        let agreed = |amount| Part::Agreed { amount, among: 3 };
        ceiling.grant(agreed(100));
        assert_eq!(
            ceiling.limit(),
            100,
            "max_server_connections is not for them"
        );
        ceiling.note_server(271);
        assert_eq!(ceiling.shared_out(), 61);
        ceiling.note_server(90);
        assert_eq!((ceiling.limit(), ceiling.shared_out()), (80, 0));
        ceiling.grant(agreed(0));
        assert_eq!(ceiling.limit(), 0);
    }
}
