//! Whole passes over a store that fails: what is on disk afterwards, what was asked for, what is remembered.

mod local;
mod network;
mod properties;

use super::*;
use crate::rig::Rig;

fn denied() -> StoreError {
    StoreError::Denied {
        status: 403,
        code: "AuthorizationFailure".to_owned(),
    }
}

fn put_all<const N: usize>(rig: &Rig, list: [(&str, &str); N]) {
    for (name, content) in list {
        rig.fake.put(name, content);
    }
}
