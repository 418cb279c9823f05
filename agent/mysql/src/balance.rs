//! Which of several replicas answers a read: of two that are drawn, the one that will answer sooner ("the power of two choices"), those
//! in the machine's own zone first. Pure.

/// A replica as a read sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Candidate {
    /// It may answer reads.
    pub(crate) fit: bool,
    /// It has every write that the read has to see.
    pub(crate) has_all: bool,
    /// If it has not, it may be waited for.
    pub(crate) may_wait: bool,
    /// In the machine's own zone, or in one that nobody named.
    pub(crate) near: bool,
    /// How long one more statement takes there, in some unit.
    pub(crate) cost: u64,
}

/// What was found for a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This one has all.
    Fresh(usize),
    /// None has all; this one may have it in a moment.
    Soon(usize),
    /// Some are fit, and all of them too far behind for this read.
    Behind,
    /// None is fit.
    None,
}

/// Chooses for one read; `random` is any number.
pub(crate) fn choose(candidates: &[Candidate], random: usize) -> Choice {
    if let Some(index) = draw(candidates, random, |it| it.fit && it.has_all) {
        return Choice::Fresh(index);
    }
    if let Some(index) = draw(candidates, random, |it| it.fit && it.may_wait) {
        return Choice::Soon(index);
    }
    if candidates.iter().any(|it| it.fit) {
        Choice::Behind
    } else {
        Choice::None
    }
}

/// The cheaper one of two of those that `suits`.
fn draw(
    candidates: &[Candidate],
    random: usize,
    suits: impl Fn(&Candidate) -> bool,
) -> Option<usize> {
    let is_near_one = candidates.iter().any(|it| suits(it) && it.near);
    let suiting = || {
        let all = candidates.iter().enumerate();
        all.filter(|(_, it)| suits(it) && (it.near || !is_near_one))
    };
    let count = suiting().count();
    if count == 0 {
        return None;
    }
    let first = random % count;
    // never the same one twice, if there are two
    let second = (first + 1 + (random / count) % count.saturating_sub(1).max(1)) % count;
    let drawn = suiting()
        .enumerate()
        .filter(|(place, _)| *place == first || *place == second);
    drawn
        .min_by_key(|(place, (_, it))| (it.cost, *place != first))
        .map(|(_, (index, _))| index)
}

#[cfg(test)]
mod tests;
