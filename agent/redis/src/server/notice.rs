//! What Azure Cache for Redis says about maintenance of its own nodes, on the channel `AzureRedisEvents`, and what follows from it.
//! Pure; no IO. The form is that of `AzureRedisEvents.md` in Azure/AzureCacheForRedis: names and values in turn, between `|`.

use lamplighter_core::net::HostPort;

/// Where it is said.
pub(super) const CHANNEL: &str = "AzureRedisEvents";

/// The domains of Azure Cache for Redis, where the channel is; nothing is known of one in Azure Managed Redis.
const DOMAINS: [&str; 3] = [
    ".redis.cache.windows.net",
    ".redis.cache.chinacloudapi.cn",
    ".redis.cache.usgovcloudapi.net",
];

/// Whether a host is an Azure Cache for Redis.
pub(crate) fn is_azures(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    DOMAINS.iter().any(|domain| host.ends_with(domain))
}

/// How far a maintenance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Minutes ahead.
    Scheduled,
    /// About 20 seconds ahead.
    Starting,
    /// Less than five seconds ahead.
    Start,
    /// A replica has become the primary.
    Failover,
    /// A cluster has more nodes, or fewer.
    Scaled,
    /// The node is back.
    Ended,
    /// Something newer than this program.
    Other,
}

impl Stage {
    /// The metric labels.
    pub(crate) const LABELS: [&str; 7] = [
        "scheduled",
        "starting",
        "start",
        "failover",
        "scaled",
        "ended",
        "other",
    ];

    /// The metric label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Starting => "starting",
            Self::Start => "start",
            Self::Failover => "failover",
            Self::Scaled => "scaled",
            Self::Ended => "ended",
            Self::Other => "other",
        }
    }

    fn of(text: &str) -> Self {
        match text {
            "NodeMaintenanceScheduled" => Self::Scheduled,
            "NodeMaintenanceStarting" => Self::Starting,
            "NodeMaintenanceStart" => Self::Start,
            // the second is what it was called at first
            "NodeMaintenanceFailoverComplete" | "NodeMaintenanceFailover" => Self::Failover,
            "NodeMaintenanceScaleComplete" => Self::Scaled,
            "NodeMaintenanceEnded" => Self::Ended,
            _ => Self::Other,
        }
    }
}

/// One message of the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) stage: Stage,
    /// When it starts, as Azure writes it; often not said.
    pub(super) start: String,
    is_replica: bool,
    ports: Vec<u16>,
}

impl Notice {
    /// Reads a message; `None` if it does not say what it is about.
    pub(super) fn parse(message: &str) -> Option<Self> {
        let words: Vec<&str> = message.split('|').map(str::trim).collect();
        let value = |names: &[&str]| {
            let (pairs, _) = words.as_chunks::<2>();
            let is_it = |name: &str| names.iter().any(|known| name.eq_ignore_ascii_case(known));
            pairs
                .iter()
                .find(|[name, _]| is_it(name))
                .map(|[_, value]| *value)
        };
        let port = |name| value(&[name])?.parse().ok();
        Some(Self {
            stage: Stage::of(value(&["NotificationType"])?),
            start: value(&["StartTimeInUTC", "StartTimeUtc"])
                .unwrap_or_default()
                .to_owned(),
            is_replica: value(&["IsReplica"]).is_some_and(|it| it.eq_ignore_ascii_case("true")),
            ports: ["SSLPort", "NonSSLPort"]
                .into_iter()
                .filter_map(port)
                .collect(),
        })
    }

    /// Whether connections to `address` should be changed for new ones now. The nodes of a cluster are told apart by their ports;
    /// a single address leads to whichever node is the primary. Maintenance of a replica cuts nothing.
    pub(super) fn renews(&self, address: &HostPort, is_cluster: bool) -> bool {
        let is_here = !is_cluster || self.ports.contains(&address.port);
        match self.stage {
            Stage::Starting => is_here && !self.is_replica,
            Stage::Failover => is_here,
            _ => false,
        }
    }

    /// Whether keys may be elsewhere now.
    pub(super) const fn moves_keys(&self) -> bool {
        matches!(self.stage, Stage::Failover | Stage::Scaled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renewed(message: &str, port: u16, is_cluster: bool) -> bool {
        let address = HostPort {
            host: "c".into(),
            port,
        };
        Notice::parse(message).unwrap().renews(&address, is_cluster)
    }

    #[test]
    fn messages_are_read_as_azure_writes_them() {
        let notice = Notice::parse(
            "NotificationType|NodeMaintenanceStarting|StartTimeInUTC|2021-03-02T23:26:57|IsReplica|False|IPAddress||SSLPort|15001|NonSSLPort|13001",
        )
        .unwrap();
        assert_eq!(notice.stage, Stage::Starting);
        assert_eq!(notice.start, "2021-03-02T23:26:57");
        assert_eq!(notice.ports, [15_001, 13_001]);
        for (word, label) in [
            ("NodeMaintenanceScheduled", "scheduled"),
            ("NodeMaintenanceStart", "start"),
            ("NodeMaintenanceFailover", "failover"),
            ("NodeMaintenanceFailoverComplete", "failover"),
            ("NodeMaintenanceScaleComplete", "scaled"),
            ("NodeMaintenanceEnded", "ended"),
            ("NodeMaintenanceOfTomorrow", "other"),
        ] {
            let notice = Notice::parse(&format!("NotificationType|{word}|SSLPort|x")).unwrap();
            assert_eq!(notice.stage.label(), label);
            assert!(notice.ports.is_empty());
        }
        for nothing in ["", "|", "NotificationType", "hello|world"] {
            assert_eq!(Notice::parse(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn only_a_primary_that_goes_or_has_gone_is_left_and_in_a_cluster_only_that_one() {
        let message = |kind: &str, is_replica: &str| {
            format!(
                "NotificationType|NodeMaintenance{kind}|IsReplica|{is_replica}|IPAddress|13.67.42.199|SSLPort|15001|NonSSLPort|13001"
            )
        };
        for (kind, is_replica, single, its_own, anothers) in [
            ("Scheduled", "False", false, false, false),
            ("Starting", "False", true, true, false),
            ("Starting", "True", false, false, false),
            ("Start", "False", false, false, false),
            ("FailoverComplete", "False", true, true, false),
            ("FailoverComplete", "True", true, true, false),
            ("Ended", "False", false, false, false),
        ] {
            let message = message(kind, is_replica);
            assert_eq!(renewed(&message, 6380, false), single, "{message}");
            assert_eq!(renewed(&message, 15_001, true), its_own, "{message}");
            assert_eq!(renewed(&message, 15_003, true), anothers, "{message}");
        }
    }

    #[test]
    fn azures_caches_are_known_by_their_names() {
        assert!(is_azures("shop.redis.cache.windows.net"));
        assert!(is_azures("SHOP.redis.cache.windows.net."));
        assert!(!is_azures("shop.westeurope.redis.azure.net"));
        assert!(!is_azures("redis.example.net"));
    }
}
