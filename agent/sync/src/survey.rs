//! Lists the container page by page, compares it with the index and the disk, and yields decisions in the order of their
//! names, in memory for one page. Changes nothing, so a dry run is a survey whose decisions are printed.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::{JoinSet, spawn_blocking};

use crate::attempts::Attempts;
use crate::config::Config;
use crate::index::{Kind, Reader, Record};
use crate::manifest::{self, Entry, ManifestError};
use crate::plan::{Admission, Census, Decision, Judge, Merge, MergeError, Observed, Pair, decide};
use crate::store::{BlobStore, ETag, Listed, PAGE_MAX, Page, StoreError};
use crate::tree::{Near, Root, TreeError};

/// How many names are looked at in one go off the runtime's workers.
const BATCH: usize = 2000;
/// The first page where nothing is known yet: downloads begin while the next ones, each twice as long, are listed.
const PAGE_FIRST: u32 = 250;
/// The most blobs that are sorted in memory, for stores that list in another order.
const SORTED_MAX: usize = 1_000_000;

/// Why a survey ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SurveyError {
    #[error("the container could not be listed to its end")]
    List(#[source] StoreError),
    #[error("the list is not in byte order")]
    Unsorted,
    #[error("the list is not in byte order and has more than {SORTED_MAX} blobs")]
    TooMany,
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("the index cannot be read")]
    Index(#[source] io::Error),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("looking at the disk was cut short")]
    CutShort,
    /// The process leaves.
    #[error("the process leaves")]
    Leaving,
}

/// Where the list stands.
#[derive(Debug)]
enum Progress {
    /// A page is to be listed, from a marker on.
    Page(Option<String>),
    /// The next page is under way.
    Coming(JoinSet<Result<Page, StoreError>>),
    /// The whole list, sorted here; the next page is cut from its end, so it is kept backwards.
    Sorted(Vec<Listed>),
    /// The next page is read from a manifest.
    Manifest(Box<manifest::Reader<BufReader<File>>>),
    /// The next page is made of an index: what is there is compared with what was written.
    Known(Box<Reader>),
    /// The list is complete; what is left is in the index only.
    Rest,
    /// Nothing is left.
    End,
}

/// One pass over everything.
#[derive(Debug)]
pub(crate) struct Survey<S> {
    store: Arc<S>,
    prefix: String,
    attempts: Attempts,
    progress: Progress,
    /// How many blobs the next page may have.
    page_size: u32,
    bench: Option<Bench>,
    census: Census,
}

/// The part that works on the disk, off the runtime's workers.
#[derive(Debug)]
struct Bench {
    merge: Merge,
    judge: Judge,
    index: Index,
    root: Option<Arc<Root>>,
    near: Near,
}

/// The old index, or none.
#[derive(Debug)]
struct Index(Option<Reader>);

impl Iterator for Index {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.next()
    }
}

impl<S: BlobStore> Survey<S> {
    /// A survey of `config`'s container against `index` and `root` (`None`: the destination does not exist yet).
    ///
    /// # Errors
    /// If a filter is no glob.
    pub(crate) fn new(
        store: Arc<S>,
        config: &Config,
        attempts: Attempts,
        index: Option<Reader>,
        root: Option<Arc<Root>>,
    ) -> Result<Self, globset::Error> {
        let page_size = if index.is_some() {
            PAGE_MAX
        } else {
            PAGE_FIRST
        };
        let bench = Bench {
            merge: Merge::default(),
            judge: Judge::new(config)?,
            index: Index(index),
            root,
            near: Near::default(),
        };
        Ok(Self {
            store,
            prefix: config.prefix.clone(),
            attempts,
            progress: Progress::Page(None),
            page_size,
            bench: Some(bench),
            census: Census::default(),
        })
    }

    /// Lists everything and sorts it here first; for stores that list in another order.
    pub(crate) async fn sort(&mut self) -> Result<(), SurveyError> {
        let mut all = Vec::new();
        let mut marker = None;
        loop {
            let page = self.list(marker);
            let page = self.arrived(page).await?;
            all.extend(page.blobs);
            if all.len() > SORTED_MAX {
                return Err(SurveyError::TooMany);
            }
            marker = page.next;
            if marker.is_none() {
                break;
            }
        }
        all.sort_unstable_by(|one, other| other.name.cmp(&one.name));
        all.dedup_by(|one, other| one.name == other.name);
        self.progress = Progress::Sorted(all);
        Ok(())
    }

    /// Takes the names from the manifest at `path` instead of listing.
    pub(crate) async fn follow(&mut self, path: PathBuf) -> Result<(), SurveyError> {
        let open = spawn_blocking(move || {
            let file = File::open(path).map_err(ManifestError::Io)?;
            manifest::Reader::new(BufReader::new(file))
        });
        let reader = open.await.map_err(|_| SurveyError::CutShort)??;
        self.progress = Progress::Manifest(Box::new(reader));
        Ok(())
    }

    /// Takes the names from `known` instead of listing.
    pub(crate) fn recall(&mut self, known: Reader) {
        self.progress = Progress::Known(Box::new(known));
    }

    /// The next decisions; empty batches may come, `None` after the last one. Then, and only then, the list was complete.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Decision>>, SurveyError> {
        let page = match std::mem::replace(&mut self.progress, Progress::End) {
            Progress::Page(marker) => {
                let first = self.list(marker);
                Some(self.page(first).await?)
            }
            Progress::Coming(page) => Some(self.page(page).await?),
            Progress::Sorted(mut all) => {
                let mut page = all.split_off(all.len().saturating_sub(BATCH));
                page.reverse();
                self.progress = if all.is_empty() {
                    Progress::Rest
                } else {
                    Progress::Sorted(all)
                };
                Some(page)
            }
            Progress::Manifest(reader) => Some(self.manifest_page(reader).await?),
            Progress::Known(reader) => Some(self.known_page(reader).await?),
            Progress::Rest => {
                self.progress = Progress::Rest;
                None
            }
            Progress::End => return Ok(None),
        };
        let in_rest = page.is_none();
        let mut bench = self.bench.take().ok_or(SurveyError::CutShort)?;
        let work = spawn_blocking(move || {
            let batch = bench.batch(page);
            (bench, batch)
        });
        let (bench, batch) = work.await.map_err(|_| SurveyError::CutShort)?;
        // after a failure the index was read further than decided on: what is left of it is of no use
        let (decisions, census) = batch?;
        self.bench = Some(bench);
        if in_rest && decisions.is_empty() {
            self.progress = Progress::End;
            return Ok(None);
        }
        self.census.remote += census.remote;
        self.census.indexed += census.indexed;
        self.census.deletes += census.deletes;
        Ok(Some(decisions))
    }

    async fn manifest_page(
        &mut self,
        mut reader: Box<manifest::Reader<BufReader<File>>>,
    ) -> Result<Vec<Listed>, SurveyError> {
        let work = spawn_blocking(move || {
            let page: Result<Vec<_>, _> = (&mut *reader).take(BATCH).collect();
            (reader, page)
        });
        let (reader, page) = work.await.map_err(|_| SurveyError::CutShort)?;
        let page = page?;
        self.progress = if page.is_empty() {
            Progress::Rest
        } else {
            Progress::Manifest(reader)
        };
        Ok(page.into_iter().map(Entry::into_listed).collect())
    }

    async fn known_page(&mut self, mut reader: Box<Reader>) -> Result<Vec<Listed>, SurveyError> {
        let work = spawn_blocking(move || {
            let page = known_page(&mut reader);
            (reader, page)
        });
        let (reader, page) = work.await.map_err(|_| SurveyError::CutShort)?;
        let page = page.map_err(SurveyError::Index)?;
        self.progress = if page.is_empty() {
            Progress::Rest
        } else {
            Progress::Known(reader)
        };
        Ok(page)
    }

    /// What was counted so far.
    pub(crate) const fn census(&self) -> Census {
        self.census
    }

    /// What the index holds beyond the last decision, for a pass that ends early; `None` if that is not known.
    pub(crate) fn into_rest(
        self,
    ) -> Option<impl Iterator<Item = io::Result<Record>> + Send + 'static> {
        let bench = self.bench?;
        Some(
            bench
                .merge
                .into_peeked()
                .map(Ok)
                .into_iter()
                .chain(bench.index),
        )
    }

    /// Begins to list from `marker` on, beside whatever else goes on.
    fn list(&mut self, marker: Option<String>) -> JoinSet<Result<Page, StoreError>> {
        let (store, prefix) = (Arc::clone(&self.store), self.prefix.clone());
        let (attempts, most) = (self.attempts.clone(), self.page_size);
        self.page_size = (most * 2).min(PAGE_MAX);
        let mut page = JoinSet::new();
        page.spawn(async move {
            attempts
                .retried(|| store.list_page(&prefix, marker.as_deref(), most))
                .await
        });
        page
    }

    /// Takes in the page that is under way.
    async fn arrived(
        &self,
        mut page: JoinSet<Result<Page, StoreError>>,
    ) -> Result<Page, SurveyError> {
        tokio::select! {
            Some(page) = page.join_next() => match page {
                Ok(page) => page.map_err(SurveyError::List),
                // a bug in us is as bad there as here
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Err(SurveyError::CutShort),
                },
            },
            () = self.attempts.quit.cancelled() => Err(SurveyError::Leaving),
        }
    }

    /// Takes in the page that is under way, and begins to list the next one.
    async fn page(
        &mut self,
        page: JoinSet<Result<Page, StoreError>>,
    ) -> Result<Vec<Listed>, SurveyError> {
        let Page { blobs, next } = self.arrived(page).await?;
        self.progress = match next {
            Some(marker) => Progress::Coming(self.list(Some(marker))),
            None => Progress::Rest,
        };
        Ok(blobs)
    }
}

impl Bench {
    fn batch(&mut self, page: Option<Vec<Listed>>) -> Result<(Vec<Decision>, Census), SurveyError> {
        let pairs = match page {
            Some(page) => self
                .merge
                .page(page, &mut self.index)
                .map_err(|error| match error {
                    MergeError::Unsorted => SurveyError::Unsorted,
                    MergeError::Index(error) => SurveyError::Index(error),
                })?,
            None => self
                .merge
                .rest(BATCH, &mut self.index)
                .map_err(SurveyError::Index)?,
        };
        // directories may come and go between two batches
        self.near = Near::default();
        let mut census = Census::default();
        let mut decisions = Vec::with_capacity(pairs.len());
        for pair in pairs {
            census.indexed += u64::from(is_indexed_file(&pair));
            let decision = match self.judge.admit(pair) {
                Admission::Decided(decision) => decision,
                Admission::Look { remote, record } => {
                    census.remote += 1;
                    let observed = match &self.root {
                        Some(root) => root.observe(&remote.name, &mut self.near)?,
                        None => Observed::Missing,
                    };
                    decide(remote, record, observed)
                }
            };
            census.deletes += u64::from(deletes_file(&decision));
            decisions.push(decision);
        }
        Ok((decisions, census))
    }
}

/// What an index says, as a list of the container as it was then.
fn known_page(reader: &mut Reader) -> io::Result<Vec<Listed>> {
    let mut page = Vec::new();
    for record in reader.by_ref() {
        let Record { name, kind } = record?;
        page.push(match kind {
            Kind::File(file) => Listed {
                name,
                size: file.size,
                content: manifest::content_of(&file.etag),
                etag: file.etag,
                sum: Some(file.sum),
                directory: false,
                origin: None,
            },
            Kind::Directory => Listed {
                name,
                size: 0,
                etag: ETag::new(""),
                sum: None,
                directory: false,
                content: None,
                origin: None,
            },
        });
        if page.len() >= BATCH {
            break;
        }
    }
    Ok(page)
}

fn deletes_file(decision: &Decision) -> bool {
    match decision {
        Decision::Delete(record) => matches!(record.kind, Kind::File(_)),
        Decision::Refuse { gone, .. } => *gone,
        _ => false,
    }
}

fn is_indexed_file(pair: &Pair) -> bool {
    let record = match pair {
        Pair::Remote(_, record) => record.as_ref(),
        Pair::Local { record, .. } => Some(record),
    };
    record.is_some_and(|record| matches!(record.kind, Kind::File(_)))
}
