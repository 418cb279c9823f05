//! One run of a job: from its source to Redis, or to nowhere.

use std::time::Duration;

use lamplighter_core::lifecycle::Step;
use tokio::time::Instant;

use super::{Job, JobContext, Next, Work};
use crate::metrics::JobSeries;
use crate::warm::batch::Checkpoint;
use crate::warm::config::ReadFrom;
use crate::warm::crawl::crawl;
use crate::warm::error::RunError;
use crate::warm::intake::{Intake, Read, Sink};
use crate::warm::lease::Lease;
use crate::warm::lines::Lines;
use crate::warm::mapper::Mapper;
use crate::warm::query::Query;
use crate::warm::queue::queue;
use crate::warm::reader::Reader;
use crate::warm::schedule::Done;
use crate::warm::standing::State;
use crate::warm::template::Template;
use crate::warm::writer::{Saved, Writer};

/// Bytes of rows that may be on their way from MySQL to Redis.
const QUEUE_BYTES: u32 = 8 * 1024 * 1024;

/// What is left of the counts of hot keys after a run.
const FADE: f32 = 0.7;

impl Job {
    /// Runs under `lease` and leaves the result.
    pub(super) async fn run(&self, context: &JobContext, lease: &Lease) -> Result<Done, RunError> {
        let Some(template) = self.template() else {
            return Ok(Done::default());
        };
        let started = Instant::now();
        let (from, written) = match self.saved(lease).await {
            Some(saved) => (Some(saved.checkpoint), saved.written),
            None => (None, Default::default()),
        };
        let (sender, batches) = queue(QUEUE_BYTES);
        let mapper = self.mapper(context, template);
        let series = context.metrics.of_job(&self.config.name);
        let (governor, progress) = (&*context.governor, &self.standing.progress);
        let intake = Intake::new(&mapper, Sink::Queue(sender), governor, progress, &series);
        let writer = Writer {
            dialer: &context.dialer,
            kind: context.kind,
            timeout: context.write_timeout,
            lease,
            series: &series,
            connects: &context.metrics.connects,
            tasks: &context.tasks,
            governor,
            progress,
            written,
            connection: None,
        };
        let work = Box::pin(async {
            tokio::try_join!(
                self.read(context, intake, from, FADE),
                writer.write_all(batches)
            )
        });
        let (read, written) = tokio::select! {
            result = work => result?,
            lost = lease.hold() => return Err(lost),
            () = governor.watch(&context.link, context.load.as_ref()) => return Err(RunError::Leaving),
            () = leaving(context) => return Err(RunError::Leaving),
        };
        let done = Done {
            rows: read.rows,
            keys: written.keys,
            kept: written.kept,
            bytes: written.bytes,
            skipped: read.skipped,
            duration_ms: millis(started.elapsed()),
            // both are Redis' to say
            finished_ms: 0,
            generation: 0,
        };
        lease.finish(done, self.config.interval().get()).await
    }

    /// Reads all and writes nothing; what would be written is counted.
    pub(super) async fn dry_run(&self, context: &JobContext) -> Result<Next, RunError> {
        let result = self
            .counted(context, State::DryRun, self.read_dry(context))
            .await;
        match result {
            Err(RunError::Leaving) => self.left_off(context, RunError::Leaving),
            // told to whoever asked; nothing is the worse for it
            Err(_) | Ok(()) => Ok(Next::Wait(Duration::ZERO)),
        }
    }

    async fn read_dry(&self, context: &JobContext) -> Result<(), RunError> {
        let Some(template) = self.template() else {
            return self.crawl(context, true).await.map(drop);
        };
        let mapper = self.mapper(context, template);
        let series = JobSeries::none();
        let (governor, progress) = (&*context.governor, &self.standing.progress);
        let intake = Intake::new(&mapper, Sink::Nowhere, governor, progress, &series);
        tokio::select! {
            read = Box::pin(self.read(context, intake, None, 1.0)) => read.map(drop),
            () = governor.watch(&context.link, context.load.as_ref()) => Err(RunError::Leaving),
            () = leaving(context) => Err(RunError::Leaving),
        }
    }

    async fn read(
        &self,
        context: &JobContext,
        intake: Intake<'_>,
        from: Option<Checkpoint>,
        fade: f32,
    ) -> Result<Read, RunError> {
        match &self.work {
            Work::Sql(query, _) => self.reader(context, query).read_all(intake, from).await,
            Work::HotKeys(query, template, list) => {
                let hot = self.hot(template, list);
                let literals = hot.literals(&context.link, fade).await?;
                self.reader(context, query)
                    .read_list(intake, &literals)
                    .await
            }
            Work::File(path, _) => {
                let lines = Lines::open(path, self.config.value_max).await?;
                lines.read_all(intake, from).await
            }
            Work::Urls => Ok(Read::default()),
        }
    }

    /// Asks for the pages; what came of it, and for how many milliseconds.
    pub(super) async fn crawl(
        &self,
        context: &JobContext,
        dry: bool,
    ) -> Result<(Read, u64), RunError> {
        let started = Instant::now();
        let series = match dry {
            true => JobSeries::none(),
            false => context.metrics.of_job(&self.config.name),
        };
        let progress = &self.standing.progress;
        tokio::select! {
            read = Box::pin(crawl(&self.config, dry, progress, &series)) => {
                Ok((read?, millis(started.elapsed())))
            }
            () = leaving(context) => Err(RunError::Leaving),
        }
    }

    fn reader<'a>(&'a self, context: &'a JobContext, query: &'a Query) -> Reader<'a> {
        Reader {
            job: &self.config,
            query,
            socket: &context.socket,
        }
    }

    /// The key of a row; a job that writes no keys has none.
    const fn template(&self) -> Option<&Template> {
        match &self.work {
            Work::Sql(_, template) | Work::HotKeys(_, template, _) | Work::File(_, template) => {
                Some(template)
            }
            Work::Urls => None,
        }
    }

    fn mapper<'a>(&'a self, context: &'a JobContext, template: &'a Template) -> Mapper<'a> {
        let load = context.load.as_ref().map(|load| load.read());
        let from_replicas =
            self.config.source.is_sql() && self.config.read_from == ReadFrom::Replica;
        Mapper {
            job: &self.config,
            template,
            holdoffs: &context.holdoffs,
            lag_max: load
                .filter(|_| from_replicas)
                .map_or(Duration::ZERO, |load| load.behind_max),
        }
    }

    /// How far another run came that did not end. The list of hot keys is another each time.
    async fn saved(&self, lease: &Lease) -> Option<Saved> {
        if matches!(self.work, Work::HotKeys(..)) {
            return None;
        }
        let saved = lease.saved().await?;
        tracing::info!(
            job = self.config.name,
            rows = saved.checkpoint.rows,
            "going on with a run that did not end"
        );
        Some(saved)
    }
}

/// Until this instance has to give its runs up.
async fn leaving(context: &JobContext) {
    tokio::select! {
        () = context.tasks.draining() => {}
        () = context.tasks.departures().reached(Step::Shedding) => {}
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
