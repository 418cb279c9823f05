//! One reply out of the replies of several servers. In memory only.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use lamplighter_wire::redis::reply::{elements, error, integer, is_null};
use lamplighter_wire::redis::{Protocol, write};

use super::outbox::{Data, Outbox};
use super::scan;

/// How parts become one reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The sum of integers: DEL, EXISTS, UNLINK, TOUCH, DBSIZE.
    Sum,
    /// `+OK` if all are: MSET, FLUSHDB.
    AllOk,
    /// All elements of all parts: KEYS.
    Concat,
    /// For each element of the reply the part it is in, each part's elements in their order: MGET.
    Gather(Vec<usize>),
    /// The first part; the others must not be errors: SCRIPT, FUNCTION.
    First,
    /// A part that is not null, counted from this one on, round and round: RANDOMKEY.
    Any(usize),
    /// The only part, of this one of so many servers; its cursor becomes one for all of them: SCAN.
    Scan { index: usize, servers: usize },
}

/// A reply that is put together.
#[derive(Debug)]
pub(crate) struct Merge {
    parts: Mutex<Parts>,
    plan: Plan,
    protocol: Protocol,
    outbox: Arc<Outbox>,
    place: u64,
}

#[derive(Debug)]
struct Parts {
    replies: Vec<Option<Bytes>>,
    left: usize,
}

impl Merge {
    /// A reply of `count` parts for the place of a client.
    pub(crate) fn new(
        plan: Plan,
        count: usize,
        protocol: Protocol,
        outbox: Arc<Outbox>,
        place: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            parts: Mutex::new(Parts {
                replies: vec![None; count],
                left: count,
            }),
            plan,
            protocol,
            outbox,
            place,
        })
    }

    /// A part has come; the last one completes the reply.
    pub(crate) fn add(&self, index: usize, reply: Bytes) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        match parts.replies.get_mut(index) {
            Some(part) if part.is_none() => *part = Some(reply),
            _ => return,
        }
        parts.left -= 1;
        if parts.left > 0 {
            return;
        }
        let replies: Vec<Bytes> = std::mem::take(&mut parts.replies)
            .into_iter()
            .flatten()
            .collect();
        drop(parts);
        let whole = combine(&self.plan, &replies, self.protocol);
        self.outbox.add(self.place, Data::Shared(whole), true);
    }

    /// Whether the client still waits.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.outbox.is_closed()
    }
}

fn combine(plan: &Plan, replies: &[Bytes], protocol: Protocol) -> Bytes {
    if let Plan::Any(first) = plan
        && let Some(found) = any(replies, *first)
    {
        return found;
    }
    // one part that failed is the whole reply: the client must not take a part for all
    if let Some(failed) = replies.iter().find(|reply| error(reply).is_some()) {
        return failed.clone();
    }
    let odd = || write::error("ERR lamplighter: the servers' replies do not fit together");
    match plan {
        Plan::AllOk => write::OK,
        // all are null
        Plan::Any(_) | Plan::First => replies.first().cloned().unwrap_or_else(odd),
        Plan::Scan { index, servers } => replies
            .first()
            .and_then(|reply| scan::reply(reply, *index, *servers))
            .unwrap_or_else(odd),
        Plan::Sum => replies
            .iter()
            .try_fold(0_i64, |sum, reply| sum.checked_add(integer(reply)?))
            .map_or_else(odd, write::integer),
        Plan::Concat => {
            let mut all = Vec::new();
            for reply in replies {
                match elements(reply) {
                    Some(part) => all.extend(part),
                    None => return odd(),
                }
            }
            array(&all)
        }
        Plan::Gather(order) => {
            let Some(mut parts) = replies
                .iter()
                .map(|reply| elements(reply).map(Vec::into_iter))
                .collect::<Option<Vec<_>>>()
            else {
                return odd();
            };
            let null = write::null(protocol);
            let all: Vec<&[u8]> = order
                .iter()
                .map(|part| {
                    parts
                        .get_mut(*part)
                        .and_then(Iterator::next)
                        .unwrap_or(&null)
                })
                .collect();
            array(&all)
        }
    }
}

fn any(replies: &[Bytes], first: usize) -> Option<Bytes> {
    let (before, from) = replies.split_at_checked(first.checked_rem(replies.len())?)?;
    let is_one = |reply: &&Bytes| error(reply).is_none() && !is_null(reply);
    from.iter().chain(before).find(is_one).cloned()
}

fn array(elements: &[&[u8]]) -> Bytes {
    let size = elements.iter().map(|element| element.len()).sum::<usize>();
    let mut out = BytesMut::with_capacity(size + 16);
    write::put_header(&mut out, b'*', elements.len());
    for element in elements {
        out.extend_from_slice(element);
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(plan: &Plan, replies: &[&'static [u8]]) -> Vec<u8> {
        let replies: Vec<_> = replies
            .iter()
            .map(|reply| Bytes::from_static(reply))
            .collect();
        combine(plan, &replies, Protocol::Resp2).to_vec()
    }

    #[test]
    fn parts_become_what_one_server_would_have_said() {
        assert_eq!(merged(&Plan::Sum, &[b":2\r\n", b":3\r\n"]), b":5\r\n");
        assert_eq!(merged(&Plan::AllOk, &[b"+OK\r\n", b"+OK\r\n"]), b"+OK\r\n");
        assert_eq!(
            merged(
                &Plan::Gather(vec![1, 0, 1]),
                &[b"*1\r\n$1\r\na\r\n", b"*2\r\n$1\r\nb\r\n$-1\r\n"]
            ),
            b"*3\r\n$1\r\nb\r\n$1\r\na\r\n$-1\r\n"
        );
        assert_eq!(
            merged(
                &Plan::Concat,
                &[b"*1\r\n+a\r\n", b"*0\r\n", b"*1\r\n+b\r\n"]
            ),
            b"*2\r\n+a\r\n+b\r\n"
        );
        assert_eq!(
            merged(&Plan::Sum, &[b":2\r\n", b"-ERR lost\r\n"]),
            b"-ERR lost\r\n"
        );
        assert!(merged(&Plan::Sum, &[b"+x\r\n"]).starts_with(b"-ERR"));
    }

    #[test]
    fn any_part_will_do_and_only_if_there_is_none_an_error_or_null_is_said() {
        let (one, two, null) = (b"$1\r\na\r\n", b"$1\r\nb\r\n", b"$-1\r\n");
        let lost = b"-ERR lost\r\n";
        let any = |first, replies: &[&'static [u8]]| merged(&Plan::Any(first), replies);
        assert_eq!(any(0, &[one, two, null]), one);
        assert_eq!(any(1, &[one, two, null]), two);
        assert_eq!(any(2, &[one, two, null]), one);
        assert_eq!(any(4, &[one, two, null]), two);
        assert_eq!(any(1, &[null, lost, two]), two);
        assert_eq!(any(1, &[null, lost, null]), lost);
        assert_eq!(any(1, &[null, null, null]), null);
        assert_eq!(any(0, &[b"_\r\n", two]), two);
    }
}
