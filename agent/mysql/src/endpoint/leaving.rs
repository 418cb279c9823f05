//! The endpoint's part in leaving: the instance waits, within its time, until no client holds a server connection: no statement in
//! flight, no transaction open. Clients may go on meanwhile; nobody is sent away before the process ends.

use std::sync::Arc;
use std::time::Duration;

use lamplighter_core::lifecycle::{Step, Tasks};

use super::Shared;

/// How often it is looked whether all is quiet.
const LOOK: Duration = Duration::from_millis(20);

/// Takes part until draining begins, which has its own way of ending sessions.
pub(super) async fn finish(shared: Arc<Shared>, tasks: Tasks) {
    let mut duty = tasks.duty(Step::Finishing, "mysql");
    loop {
        let call = tokio::select! {
            call = duty.called() => call,
            () = tasks.draining() => return,
        };
        let quiet = async {
            loop {
                let busy = shared.busy();
                call.left(busy);
                if busy == 0 {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = quiet => {}
            () = call.over() => {}
            () = tasks.draining() => return,
        }
    }
}
