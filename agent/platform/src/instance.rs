//! Which machine this is: `/metadata/instance`, asked until it is known and then now and again. Writes one series.

use std::sync::Arc;
use std::time::Duration;

use lamplighter_core::fault::chain;
use lamplighter_core::instance::Instance;
use lamplighter_core::lifecycle::Tasks;
use lamplighter_core::metrics::IntGaugeVec;
use serde_json::Value;
use tokio::sync::watch;

use crate::imds::{Endpoint, Imds, ImdsError, fraction, one_line};

/// The `api-version` that every host has had for years and that has all we read.
const TARGET: &str = "/metadata/instance?api-version=2021-02-01";

/// How long one request may take; the service promises an answer within 10 s.
const LIMIT: Duration = Duration::from_secs(12);

/// How often a machine that knows itself asks again: a live migration may change nothing we show but the zone's name.
const AGAIN: Duration = Duration::from_secs(3600);

/// The longest field that is kept, in characters.
const FIELD_MAX: usize = 256;

/// The labels of [`info`](Finder), in their order.
pub(crate) const LABELS: [&str; 5] = ["vm_id", "name", "scale_set", "location", "zone"];

/// Reads the answer. Everything in it is a string, but a number or a boolean is taken for its text, and what is anything else is
/// taken for absent: the machine had better be nameless than not be there.
pub(crate) fn read(body: &[u8]) -> Result<Instance, String> {
    let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let compute = value
        .get("compute")
        .filter(|it| it.is_object())
        .ok_or("it has no \"compute\"")?;
    let text = |key: &str| match compute.get(key) {
        Some(Value::String(text)) => one_line(text.trim(), FIELD_MAX),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(bool)) => bool.to_string(),
        _ => String::new(),
    };
    let instance = Instance {
        vm_id: text("vmId"),
        name: text("name"),
        scale_set: text("vmScaleSetName"),
        location: text("location"),
        zone: text("zone"),
        priority: text("priority"),
        resource_id: text("resourceId"),
    };
    if instance.vm_id.is_empty() {
        return Err("it has no \"vmId\"".to_owned());
    }
    Ok(instance)
}

/// Asks once.
pub(crate) async fn ask(imds: &Imds) -> Result<Instance, ImdsError> {
    imds.get(Endpoint::Instance, TARGET, LIMIT, read).await
}

/// Finds the machine out and tells everybody.
#[derive(Debug)]
pub(crate) struct Finder {
    pub(crate) imds: Imds,
    pub(crate) tell: watch::Sender<Option<Arc<Instance>>>,
    pub(crate) info: IntGaugeVec,
}

impl Finder {
    /// Asks until draining begins.
    pub(crate) async fn run(self, tasks: Tasks) {
        let mut failures = 0;
        loop {
            let asked = tokio::select! {
                asked = ask(&self.imds) => asked,
                () = tasks.draining() => return,
            };
            let pause = match asked {
                Ok(instance) => {
                    failures = 0;
                    self.publish(instance);
                    AGAIN
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::info!("no instance metadata yet: {}", chain(&error));
                    }
                    error.pause(failures)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(1.0 + 0.2 * fraction())) => {}
                () = tasks.draining() => return,
            }
        }
    }

    /// Tells it, unless it is known.
    pub(crate) fn publish(&self, instance: Instance) {
        let instance = Arc::new(instance);
        let news = self.tell.send_if_modified(|known| {
            let news = known.as_ref() != Some(&instance);
            *known = Some(Arc::clone(&instance));
            news
        });
        if !news {
            return;
        }
        tracing::info!(
            vm_id = instance.vm_id,
            name = instance.name,
            scale_set = instance.scale_set,
            location = instance.location,
            zone = instance.zone,
            "this machine"
        );
        self.info.reset();
        self.info
            .with_label_values(&[
                &*instance.vm_id,
                &*instance.name,
                &*instance.scale_set,
                &*instance.location,
                &*instance.zone,
            ])
            .set(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_taken_and_the_rest_is_empty() {
        let body = br#"{"compute":{"vmId":"02aab8a4-74ef-476e-8182-f6d2ba4166a6","name":"web_3","vmScaleSetName":"web",
            "location":"westeurope","zone":2,"priority":"","tagsList":[],"osProfile":{"adminUsername":"x"}},"network":{}}"#;
        let instance = read(body).unwrap();
        assert_eq!(instance.name, "web_3");
        assert_eq!(instance.zone, "2");
        assert_eq!((&*instance.priority, &*instance.resource_id), ("", ""));
    }

    #[test]
    fn junk_is_told_and_never_taken() {
        for junk in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"compute":[]}"#,
            r#"{"compute":{"vmId":""}}"#,
            r#"{"compute":{"vmId":["x"],"name":"web_3"}}"#,
            r#"{"compute":{"vmId":"x""#,
        ] {
            assert!(read(junk.as_bytes()).is_err(), "{junk}");
        }
        let nested = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        assert!(read(nested.as_bytes()).is_err());
        let long = format!(r#"{{"compute":{{"vmId":"x\n{}"}}}}"#, "y".repeat(9000));
        let instance = read(long.as_bytes()).unwrap();
        assert_eq!(instance.vm_id.len(), FIELD_MAX);
        assert!(!instance.vm_id.contains('\n'));
    }
}
