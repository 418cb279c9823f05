//! The side of the platform that is Azure: one client of its metadata service, and those who use it. Asks for nothing on a machine
//! that is not Azure's.

use std::fs;
use std::sync::Arc;

use lamplighter_core::fault::{Culprit, Fault, Retry, chain};
use lamplighter_core::health::HealthBoard;
use lamplighter_core::identity::{Resource, TokenPublisher, TokenSource};
use lamplighter_core::instance::{Instance, InstanceView};
use lamplighter_core::lifecycle::{Control, Departures, Tasks};
use lamplighter_core::metrics::{IntGaugeVec, MetricsError, Registry, Section};
use lamplighter_core::tls::{TlsClient, TlsConfig, TlsError};
use tokio::sync::watch;

use crate::config::{Config, Identity, IdentityKind, ImdsAddress};
use crate::events;
use crate::http::Origin;
use crate::identity::{self, Provider, Refresher, Workload};
use crate::imds::Imds;
use crate::instance::{Finder, LABELS};
use crate::machine::Machine;
use crate::names::Names;
use crate::state::{Claim, StateDir};

/// What firmware says on Azure's machines, in the chassis asset tag of SMBIOS; cloud-init knows Azure by it, too.
const ASSET_TAG: &str = "7783-7084-3265-9085-8269-3286-77";

/// Where the kernel shows it.
const ASSET_TAG_FILE: &str = "/sys/class/dmi/id/chassis_asset_tag";

/// Why the set-up cannot work.
#[derive(Debug, thiserror::Error)]
pub enum AzureError {
    /// A series is registered twice.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The authority of a workload identity cannot be reached over TLS.
    #[error("identity.authority_ca")]
    Authority(#[source] TlsError),
}

/// Azure's side, before the agent lives.
#[derive(Debug)]
pub struct Azure {
    config: Config,
    imds: Option<Imds>,
    state: StateDir,
    found: Option<Instance>,
    tell: watch::Sender<Option<Arc<Instance>>>,
    view: InstanceView,
    info: IntGaugeVec,
    events: events::Series,
    tokens: identity::Series,
    provider: Provider,
    publishers: Vec<TokenPublisher>,
    hosts: Vec<String>,
}

impl Azure {
    /// Finds out whether this is a machine of Azure's, and wipes `state` if it is another machine's. Waits a second at most, and
    /// only for a machine that has state.
    ///
    /// # Errors
    /// If a series is registered already, or the CA of a workload identity cannot be read.
    pub async fn settle(
        config: Config,
        state: StateDir,
        registry: &Registry,
    ) -> Result<Self, AzureError> {
        let section = Section::new(registry, "platform");
        let requests = Imds::register(registry)?;
        let imds = origin(&config.imds).map(|origin| Imds::new(origin, requests));
        let provider = provider(&config.identity, imds.as_ref())?;
        let (tell, view) = InstanceView::new();
        let info = section.gauges(
            "instance_info",
            "1, with what Azure says of this machine as labels.",
            &LABELS,
        )?;
        let found = state.settle(imds.as_ref()).await;
        Ok(Self {
            config,
            imds,
            state,
            found,
            tell,
            view,
            info,
            events: events::Series::register(registry)?,
            tokens: identity::Series::register(registry)?,
            provider,
            publishers: Vec::new(),
            hosts: Vec::new(),
        })
    }

    /// Which machine this is, as far as it is known.
    #[must_use]
    pub fn instance(&self) -> InstanceView {
        self.view.clone()
    }

    /// Tokens for `resource`. The first call for a resource makes the agent fetch them; each further one shares them.
    pub fn tokens(&mut self, resource: Resource) -> TokenSource {
        let known = self.publishers.iter().find(|it| it.resource() == resource);
        if let Some(publisher) = known {
            return publisher.source();
        }
        let (publisher, source) = TokenPublisher::new(resource);
        self.publishers.push(publisher);
        source
    }

    /// Watches whether the machine's resolver knows `hosts`, the servers that the agent uses.
    pub fn watch_names(&mut self, hosts: Vec<String>) {
        self.hosts = hosts;
    }

    /// Starts everybody's work.
    pub(crate) fn start(self, tasks: &Tasks, board: &HealthBoard, leaving: Leaving) -> Late {
        for publisher in self.publishers {
            let name = format!("platform:token-{}", publisher.resource().label());
            let line = board.writer(name);
            let refresher = Refresher::new(self.provider.clone(), publisher, line, &self.tokens);
            tasks.spawn("token", refresher.run(tasks.clone()));
        }
        let machine = Machine::new(self.state.path());
        tasks.spawn("machine", machine.run(board.clone(), tasks.clone()));
        let names = Names::new(self.hosts);
        tasks.spawn("names", names.run(board.clone(), tasks.clone()));
        let late = Late {
            view: self.view.clone(),
            state: self.state,
        };
        let Some(imds) = self.imds else {
            return late;
        };
        let finder = Finder {
            imds: imds.clone(),
            tell: self.tell,
            info: self.info,
        };
        if let Some(instance) = self.found {
            finder.publish(instance);
        }
        tasks.spawn("instance", finder.run(tasks.clone()));
        if self.config.events.enabled {
            let watcher = events::Watcher {
                imds,
                policy: self.config.events,
                me: self.view,
                control: leaving.control,
                departures: leaving.departures,
                series: self.events,
            };
            tasks.spawn("events", watcher.run(tasks.clone()));
        }
        late
    }
}

/// One token for `resource`, as the configuration says, for commands that log in without the running agent. If none comes, whoever waits
/// for one is told why.
pub async fn fetch_once(config: &Config, resource: Resource) -> TokenPublisher {
    let (mut publisher, _source) = TokenPublisher::new(resource);
    // of no agent's life: nobody scrapes it
    let asked = match Imds::register(&Registry::new()) {
        Ok(requests) => {
            let imds = origin(&config.imds).map(|origin| Imds::new(origin, requests));
            match provider(&config.identity, imds.as_ref()) {
                Ok(provider) => provider.ask(resource).await.map_err(|error| chain(&error)),
                Err(error) => Err(chain(&error)),
            }
        }
        Err(error) => Err(chain(&error)),
    };
    match asked {
        Ok(reply) => {
            let expires = tokio::time::Instant::now() + reply.lifetime;
            publisher.publish(reply.secret, expires, reply.object_id);
        }
        Err(reason) => publisher.fail(reason),
    }
    publisher
}

/// What leaving for an event needs.
#[derive(Debug, Clone)]
pub(crate) struct Leaving {
    pub(crate) control: Control,
    pub(crate) departures: Departures,
}

/// Looks whether the state in use turns out to be another machine's.
#[derive(Debug)]
pub(crate) struct Late {
    view: InstanceView,
    state: StateDir,
}

impl Late {
    /// Resolves only if the agent must be started again.
    pub(crate) async fn found_out(mut self) -> Fault {
        loop {
            if let Some(instance) = self.view.now() {
                let state = self.state.clone();
                let claimed =
                    tokio::task::spawn_blocking(move || state.claim(&instance.vm_id)).await;
                if let Ok(Claim::Another { owner }) = claimed {
                    let text = format!(
                        "the state directory is that of machine {owner}; it is wiped at the next start"
                    );
                    return Fault::new(Culprit::Platform, Retry::Now, text);
                }
            }
            self.view.changed().await;
        }
    }
}

/// Where the metadata service is, if there is one.
fn origin(address: &ImdsAddress) -> Option<Origin> {
    let text = match address {
        ImdsAddress::Off => return None,
        ImdsAddress::At(text) => text,
        ImdsAddress::Auto => {
            let tag = fs::read_to_string(ASSET_TAG_FILE).unwrap_or_default();
            if tag.trim() != ASSET_TAG {
                return None;
            }
            ImdsAddress::AZURE
        }
    };
    // the configuration was checked
    text.parse().ok()
}

fn provider(identity: &Identity, imds: Option<&Imds>) -> Result<Provider, AzureError> {
    match (identity.kind, imds) {
        (IdentityKind::Managed, Some(imds)) => Ok(Provider::managed(imds.clone(), identity)),
        (IdentityKind::Managed, None) => Ok(Provider::Nobody(
            "no instance metadata service: this machine is not Azure's, or [platform] imds is \"off\"",
        )),
        (IdentityKind::Workload, _) => {
            let (Some(origin), Some(client), Some(tenant), Some(token_file)) = (
                identity.authority(),
                identity.client_id.clone(),
                identity.tenant_id.clone(),
                identity.token_file.clone(),
            ) else {
                // the configuration was checked
                return Ok(Provider::Nobody("the workload identity is incomplete"));
            };
            let tls = TlsConfig {
                ca: identity.authority_ca.0.clone(),
                ..TlsConfig::default()
            };
            let tls = match origin.tls {
                true => Some(TlsClient::new(&tls).map_err(AzureError::Authority)?),
                false => None,
            };
            Ok(Provider::Workload(Arc::new(Workload {
                origin,
                tls,
                tenant,
                client,
                token_file,
            })))
        }
    }
}
