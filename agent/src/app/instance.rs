//! What is known before anything is connected to: a name for this instance that no other has, and the hosts it will use. Reads the
//! kernel's names.

use std::fs;

use crate::config::Config;

/// The hosts of every server that `config` names.
pub(super) fn servers(config: &Config) -> Vec<String> {
    let mysql = config.mysql.iter();
    let mysql = mysql.flat_map(|it| std::iter::once(&it.primary).chain(&it.replicas));
    let redis = config.redis.iter().map(|it| &it.upstream.address);
    let named = mysql.chain(redis).map(|it| it.host.clone());
    let storage = config.sync.iter();
    let storage = storage.filter_map(|it| it.container.as_url().host_str().map(str::to_owned));
    named.chain(storage).collect()
}

/// The host's name, and a few digits of the identifier of this installation: clones of an image may share either, not both.
/// On Azure the host's name alone differs within a scale set.
#[must_use]
pub(crate) fn name() -> String {
    let read = |path: &str| {
        fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    };
    let host = read("/proc/sys/kernel/hostname");
    let machine = read("/etc/machine-id");
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let host: String = host.chars().filter(|c| plain(*c)).take(48).collect();
    let digits: String = machine.chars().filter(|c| plain(*c)).take(6).collect();
    match (host.is_empty(), digits.is_empty()) {
        (false, false) => format!("{host}-{digits}"),
        (false, true) => host,
        (true, _) => format!("vm-{digits}"),
    }
}
