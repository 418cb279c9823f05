//! What a command needs of its connection, and which of the idle ones suits it best. Decides; no IO.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Claim, Need, Pool};
use crate::insert_id::OfSession;
use crate::prepared::Template;
use crate::server::{Bucket, Idle};

/// What a client's next command needs.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) bucket: &'a Bucket,
    /// Who waits for it.
    pub(crate) claim: Claim,
    /// The asking session's LAST_INSERT_ID().
    pub(crate) session: Option<&'a OfSession>,
    /// Where the connection was given back that may still know it.
    pub(crate) left_at: Option<&'a Arc<Pool>>,
    /// The command may read LAST_INSERT_ID().
    pub(crate) insert_id: bool,
    /// A statement that had better be prepared there.
    pub(crate) template: Option<&'a Arc<Template>>,
    /// The connection may be adapted together with the command, which does no harm under another state.
    pub(crate) ahead: bool,
    pub(crate) need: Need,
    /// Until when it waits for a server that takes writes, if it has waited before.
    pub(crate) until: Option<Instant>,
}

pub(super) type Preference = fn(&Ask<'_>, &Idle) -> bool;

impl<'a> Ask<'a> {
    /// For commands of which only the bucket matters.
    pub(crate) const fn of(bucket: &'a Bucket) -> Self {
        Self {
            bucket,
            claim: Claim::OWN,
            session: None,
            left_at: None,
            insert_id: false,
            template: None,
            ahead: false,
            need: Need::Any,
            until: None,
        }
    }

    pub(super) fn preferences(&self) -> impl Iterator<Item = Preference> {
        let knows: Preference = |ask, idle| {
            let of_session = ask.session.is_some_and(|id| idle.insert_id().is_of(id));
            of_session && idle.bucket().is_near(ask.bucket)
        };
        let prepared: Preference = |ask, idle| {
            idle.bucket() == ask.bucket && ask.template.is_some_and(|it| idle.has_prepared(it))
        };
        let equal_and_free: Preference = |ask, idle| {
            idle.bucket() == ask.bucket && !idle.insert_id().is_wanted_beside(ask.session)
        };
        let equal: Preference = |ask, idle| idle.bucket() == ask.bucket;
        let near: Preference = |ask, idle| idle.bucket().is_near(ask.bucket);
        [
            self.insert_id.then_some(knows),
            self.template.is_some().then_some(prepared),
            Some(equal_and_free),
            Some(equal),
            Some(near),
        ]
        .into_iter()
        .flatten()
    }
}
