//! Which server a key is asked of, and other ways for commands that went to the wrong one or lost theirs. A cluster's map of slots is
//! asked for at the start, every minute, and whenever a server points elsewhere.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use lamplighter_core::fault::chain;
use lamplighter_core::net::HostPort;
use lamplighter_wire::redis::keys::SLOTS;
use lamplighter_wire::redis::reply::{elements, integer, string};
use lamplighter_wire::redis::{Protocol, write};
use tokio::sync::{mpsc, watch};

use super::command::{Command, Failure};
use super::connection::Connection;
use super::detour::{Detour, Detours, Stray, Verdict, WAITING_MAX};
use super::{Common, GRACE, Server, unreachable};
use crate::config::ServerKind;

/// How often a command is sent elsewhere before its last answer counts.
const DETOURS_MAX: u8 = 5;

/// How long a command that lost its connection waits for another one.
const AGAIN: Duration = Duration::from_millis(250);

/// How often the map is asked for when nothing happens.
const REFRESH: Duration = Duration::from_secs(60);

/// The least time between two questions for the map.
const REFRESH_MIN: Duration = Duration::from_millis(200);

/// How long a key whose slot is on its way is waited for, each time.
const TRY_AGAIN: Duration = Duration::from_millis(20);

const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// Where the servers are.
#[derive(Debug, Clone)]
pub(crate) struct RouterConfig {
    pub(crate) kind: ServerKind,
    pub(crate) address: HostPort,
}

/// Finds servers for keys.
#[derive(Debug)]
pub(crate) struct Router {
    config: RouterConfig,
    common: Arc<Common>,
    map: ArcSwap<Map>,
    /// Grows with each map.
    known: watch::Sender<u64>,
    /// Held while the map is replaced.
    changing: Mutex<()>,
}

/// Servers by slot; without slots there is one server.
#[derive(Debug, Default, Clone)]
struct Map {
    servers: Vec<Arc<Server>>,
    slots: Vec<u16>,
}

/// No server has this slot.
const NOWHERE: u16 = u16::MAX;

impl Router {
    /// Starts the connections; `strays` is the other end of the detours in `common`.
    pub(crate) fn start(
        config: RouterConfig,
        common: Arc<Common>,
        strays: mpsc::Receiver<Stray>,
    ) -> Arc<Self> {
        let router = Arc::new(Self {
            map: ArcSwap::from_pointee(Map::default()),
            known: watch::Sender::new(0),
            changing: Mutex::default(),
            config,
            common,
        });
        let tasks = router.common.tasks.clone();
        if router.is_cluster() {
            let theirs = Arc::clone(&router);
            tasks.spawn("cluster map", async move { theirs.follow().await });
        } else {
            let address = router.config.address.clone();
            let server = Server::start(address.clone(), address.host, &router.common);
            router.map.store(Arc::new(Map {
                servers: vec![server],
                slots: Vec::new(),
            }));
        }
        let theirs = Arc::clone(&router);
        tasks.spawn("detours", async move { theirs.help(strays).await });
        router
    }

    /// The channel for what needs another way.
    pub(crate) fn detours() -> (Detours, mpsc::Receiver<Stray>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Detours::new(sender), receiver)
    }

    /// Whether keys have slots.
    pub(crate) fn is_cluster(&self) -> bool {
        self.config.kind == ServerKind::Cluster
    }

    /// The server of a slot, or any for a command without a key; `None` if nobody knows.
    pub(crate) fn server(&self, slot: Option<u16>) -> Option<Arc<Server>> {
        let map = self.map.load();
        match slot {
            Some(slot) if !map.slots.is_empty() => {
                let at = map.slots.get(usize::from(slot)).copied().unwrap_or(NOWHERE);
                map.servers.get(usize::from(at)).cloned()
            }
            _ => {
                let up = map.servers.iter().find(|server| server.is_up());
                up.or_else(|| map.servers.first()).cloned()
            }
        }
    }

    /// As [`Self::server`]; waits a moment for the first map.
    pub(crate) async fn server_soon(&self, slot: Option<u16>) -> Result<Arc<Server>, Failure> {
        if let Some(server) = self.server(slot) {
            return Ok(server);
        }
        let mut known = self.known.subscribe();
        drop(tokio::time::timeout(GRACE, known.wait_for(|version| *version > 0)).await);
        self.server(slot).ok_or_else(|| {
            self.common.stale.notify_one();
            unreachable("no server of the cluster has this slot, or the cluster could not be asked")
        })
    }

    /// Every server that holds keys.
    pub(crate) fn servers(&self) -> Vec<Arc<Server>> {
        self.map.load().servers.clone()
    }

    /// Whether anybody can be asked.
    pub(crate) fn is_up(&self) -> bool {
        self.map.load().servers.iter().any(|server| server.is_up())
    }

    /// The version of the server or of one of them; empty if unknown.
    pub(crate) fn version(&self) -> String {
        let map = self.map.load();
        let versions = map.servers.iter().map(|server| server.version());
        versions
            .map(|version| (*version).clone())
            .find(|version| !version.is_empty())
            .unwrap_or_default()
    }

    /// Keeps the map true.
    async fn follow(&self) {
        let tasks = &self.common.tasks;
        let mut reported = false;
        loop {
            match self.ask_for_map().await {
                Ok(slots) => {
                    self.replace(&slots);
                    reported = false;
                }
                Err(reason) if !reported => {
                    reported = true;
                    tracing::warn!(server = %self.config.address, "the cluster's slots are unknown: {reason}");
                }
                Err(_) => {}
            }
            let pause = if reported { REFRESH_MIN * 2 } else { REFRESH };
            tokio::select! {
                () = tasks.draining() => return,
                () = self.common.stale.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            tokio::time::sleep(REFRESH_MIN).await;
        }
    }

    async fn ask_for_map(&self) -> Result<Vec<Shard>, String> {
        let request = write::request(&["CLUSTER", "SLOTS"]);
        for server in self.servers() {
            let Some(handle) = server.choose(Protocol::Resp2, false) else {
                continue;
            };
            let (command, answer) = Command::task(request.clone(), 1, Duration::from_secs(2));
            if handle.submit(vec![command]).await.is_ok()
                && let Ok(Ok(reply)) = answer.await
                && let Some(shards) =
                    shards(&reply, &server.address.host, &self.config.address.host)
            {
                return Ok(shards);
            }
        }
        let address = &self.config.address;
        let fresh = self
            .common
            .approach
            .connect(address, &address.host, Protocol::Resp2)
            .await
            .map_err(|error| {
                self.common.metrics.connect_error(error.label());
                chain(&error)
            })?;
        let (handle, connection) = Connection::new(fresh.stream, Detours::none(), &self.common);
        let (command, answer) = Command::task(request, 1, Duration::from_secs(2));
        let ask = async {
            drop(handle.submit(vec![command]).await);
            answer.await
        };
        let reply = tokio::select! {
            answer = ask => answer,
            _ended = Box::pin(connection.run()) => return Err("the connection was lost".to_owned()),
        };
        match reply {
            Ok(Ok(reply)) => shards(&reply, &address.host, &address.host).ok_or_else(|| {
                String::from_utf8_lossy(reply.get(..reply.len().min(200)).unwrap_or_default())
                    .trim()
                    .to_owned()
            }),
            Ok(Err(failure)) => Err(failure.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    fn replace(&self, shards: &[Shard]) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.map.load();
        let known: BTreeMap<&HostPort, &Arc<Server>> = old
            .servers
            .iter()
            .map(|server| (&server.address, server))
            .collect();
        let mut servers: Vec<Arc<Server>> = Vec::new();
        let mut slots = vec![NOWHERE; usize::from(SLOTS)];
        for shard in shards {
            let at = servers
                .iter()
                .position(|server| server.address == shard.address);
            let at = at.unwrap_or_else(|| {
                servers.push(known.get(&shard.address).map_or_else(
                    || Server::start(shard.address.clone(), shard.name.clone(), &self.common),
                    |server| Arc::clone(server),
                ));
                servers.len() - 1
            });
            let at = u16::try_from(at).unwrap_or(NOWHERE);
            if let Some(range) = slots.get_mut(usize::from(shard.first)..=usize::from(shard.last)) {
                range.fill(at);
            }
        }
        for gone in &old.servers {
            if !servers.iter().any(|server| Arc::ptr_eq(server, gone)) {
                gone.dismiss();
            }
        }
        self.map.store(Arc::new(Map { servers, slots }));
        self.known.send_modify(|version| *version += 1);
    }

    /// One slot is known to be elsewhere.
    fn patch(&self, slot: u16, server: &Arc<Server>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut map = Map::clone(&self.map.load());
        let at = map.servers.iter().position(|it| Arc::ptr_eq(it, server));
        if let (Some(place), Some(Ok(at))) =
            (map.slots.get_mut(usize::from(slot)), at.map(u16::try_from))
        {
            *place = at;
            self.map.store(Arc::new(map));
        }
    }

    /// The server of the cluster that an error names. The map decides which there are, asked for again if it is not among them: an
    /// error can be a script's, and whoever it names is shown the password.
    async fn member(&self, text: &str) -> Option<Arc<Server>> {
        let address = self.address(text).filter(|_| self.is_cluster())?;
        let find = || self.servers().into_iter().find(|it| it.address == address);
        if let Some(server) = find() {
            return Some(server);
        }
        let mut known = self.known.subscribe();
        self.common.stale.notify_one();
        // no news: the map could not be asked for, and says what it said
        let _news = tokio::time::timeout(REFRESH_MIN * 5, known.changed()).await;
        find()
    }

    async fn help(self: Arc<Self>, mut strays: mpsc::Receiver<Stray>) {
        let tasks = self.common.tasks.clone();
        loop {
            let stray = tokio::select! {
                stray = strays.recv() => stray,
                () = tasks.stopping() => None,
                () = self.common.left() => None,
            };
            let Some(stray) = stray else { return };
            let router = Arc::clone(&self);
            match stray {
                Stray::Again(command) => {
                    self.common.metrics.retried();
                    tasks.spawn(
                        "again",
                        async move { router.send_within(command, AGAIN).await },
                    );
                }
                Stray::Detour(detour) => {
                    self.common.metrics.detour(detour.verdict.label());
                    tasks.spawn("detour", async move { router.detour(detour).await });
                }
            }
        }
    }

    /// Sends a command where it belongs, or fails it.
    pub(crate) async fn send(&self, command: Command) {
        self.send_within(command, GRACE).await;
    }

    async fn send_within(&self, command: Command, patience: Duration) {
        let server = match self.server_soon(command.slot).await {
            Ok(server) => server,
            Err(failure) => return self.fail(command, &failure),
        };
        self.send_to(&server, command, patience).await;
    }

    async fn send_to(&self, server: &Arc<Server>, command: Command, patience: Duration) {
        let acquired = server.acquire_within(command.protocol, command.slow, patience);
        match acquired.await {
            Err(failure) => self.fail(command, &failure),
            Ok(handle) => {
                if let Err(back) = handle.submit(vec![command]).await {
                    for command in back {
                        self.fail(command, &unreachable("its connection was just lost"));
                    }
                }
            }
        }
    }

    pub(crate) fn fail(&self, command: Command, failure: &Failure) {
        self.common.fail(command, failure, self.common.misses);
    }

    async fn detour(&self, mut detour: Detour) {
        detour.command.detours += 1;
        if detour.command.detours > DETOURS_MAX || !detour.command.is_wanted() {
            return detour.give_up();
        }
        match &detour.verdict {
            // what a command of another slot says is not the server's word
            Verdict::Moved { slot, .. } if detour.command.slot != Some(*slot) => detour.give_up(),
            Verdict::Moved { slot, address } => match self.member(address).await {
                Some(server) => {
                    // servers that do not agree yet would pass it to and fro within a millisecond
                    if detour.command.detours > 2 {
                        tokio::time::sleep(TRY_AGAIN).await;
                    }
                    self.patch(*slot, &server);
                    self.common.stale.notify_one();
                    self.send_to(&server, detour.command, AGAIN).await;
                }
                None => detour.give_up(),
            },
            Verdict::Ask { address } => match self.member(address).await {
                Some(server) => self.ask(&server, detour).await,
                None => detour.give_up(),
            },
            Verdict::TryAgain => {
                tokio::time::sleep(TRY_AGAIN).await;
                self.send(detour.command).await;
            }
            Verdict::ReadOnly | Verdict::NotLoggedIn if detour.command.detours <= 2 => {
                // whatever the name led to is no primary any more: all connections ask the name again
                for server in self.servers() {
                    server.replace_connections();
                }
                self.common.stale.notify_one();
                self.send_within(detour.command, AGAIN).await;
            }
            Verdict::NotNow if self.common.misses => {
                let failure = unreachable("it is there but cannot answer now");
                self.fail(detour.command, &failure);
            }
            Verdict::ReadOnly | Verdict::NotLoggedIn | Verdict::NotNow => detour.give_up(),
        }
    }

    async fn ask(&self, server: &Arc<Server>, mut detour: Detour) {
        let mut bytes = BytesMut::with_capacity(ASKING.len() + detour.command.bytes.len());
        bytes.extend_from_slice(ASKING);
        bytes.extend_from_slice(&detour.command.bytes);
        detour.command.bytes = bytes.freeze();
        detour.command.replies += 1;
        self.send_to(server, detour.command, AGAIN).await;
    }

    /// `host:port` as a server writes it; without a host it means its own, which is where we came from.
    fn address(&self, text: &str) -> Option<HostPort> {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host {
            "" | "?" => &self.config.address.host,
            host => host,
        };
        Some(HostPort {
            host: host.to_owned(),
            port: port.parse().ok()?,
        })
    }
}

/// Slots and the primary that has them.
#[derive(Debug, PartialEq, Eq)]
struct Shard {
    first: u16,
    last: u16,
    address: HostPort,
    name: String,
}

/// The answer to CLUSTER SLOTS. `asked` is the host that was asked, `seed` the host of the configuration.
fn shards(reply: &Bytes, asked: &str, seed: &str) -> Option<Vec<Shard>> {
    let mut found = Vec::new();
    for shard in elements(reply)? {
        let fields = elements(shard)?;
        let [first, last, primary, ..] = fields.as_slice() else {
            return None;
        };
        let primary = elements(primary)?;
        let [host, port, rest @ ..] = primary.as_slice() else {
            return None;
        };
        let host = match string(host).map(String::from_utf8_lossy) {
            Some(host) if !host.is_empty() && host != "?" => host.into_owned(),
            _ => asked.to_owned(),
        };
        let slot = |reply: &[u8]| {
            u16::try_from(integer(reply)?)
                .ok()
                .filter(|slot| *slot < SLOTS)
        };
        found.push(Shard {
            first: slot(first)?,
            last: slot(last)?,
            name: hostname(rest).unwrap_or_else(|| certificate_name(&host, seed)),
            address: HostPort {
                host,
                port: u16::try_from(integer(port)?).ok()?,
            },
        });
    }
    (!found.is_empty()).then_some(found)
}

/// The host name among a server's further fields (since Redis 7.0: `[id, ["hostname", name]]`).
fn hostname(rest: &[&[u8]]) -> Option<String> {
    let more = elements(rest.get(1)?)?;
    let (pairs, _) = more.as_chunks::<2>();
    let [_, value] = pairs
        .iter()
        .find(|[name, _]| string(name) == Some(b"hostname"))?;
    let name = String::from_utf8(string(value)?.to_vec()).ok()?;
    (!name.is_empty()).then_some(name)
}

/// What a server's certificate is expected to say: its name, or that of the whole cluster if it is only known by an address.
fn certificate_name(host: &str, seed: &str) -> String {
    if host.parse::<IpAddr>().is_ok() {
        seed.to_owned()
    } else {
        host.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_and_certificates_name_the_host_or_the_cluster() {
        let reply = Bytes::from_static(
            b"*3\r\n*3\r\n:0\r\n:5460\r\n*4\r\n$9\r\n127.0.0.1\r\n:7000\r\n$2\r\nid\r\n*0\r\n\
              *4\r\n:5461\r\n:10922\r\n*4\r\n$6\r\nn2.lan\r\n:7001\r\n$2\r\nid\r\n*0\r\n*3\r\n$1\r\nx\r\n:1\r\n$2\r\nid\r\n\
              *3\r\n:10923\r\n:16383\r\n*4\r\n$-1\r\n:7002\r\n$2\r\nid\r\n*2\r\n$8\r\nhostname\r\n$6\r\nn3.lan\r\n",
        );
        let shards = shards(&reply, "asked.lan", "seed.lan").unwrap();
        let seen: Vec<_> = shards
            .iter()
            .map(|s| (s.first, s.last, s.address.to_string(), s.name.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                (0, 5460, "127.0.0.1:7000".to_owned(), "seed.lan"),
                (5461, 10922, "n2.lan:7001".to_owned(), "n2.lan"),
                (10923, 16383, "asked.lan:7002".to_owned(), "n3.lan"),
            ]
        );
        for wrong in [
            &b"-ERR This instance has cluster support disabled\r\n"[..],
            b"*0\r\n",
            b"*1\r\n:1\r\n",
        ] {
            assert_eq!(super::shards(&Bytes::from_static(wrong), "a", "b"), None);
        }
    }
}
