//! What can go wrong in a pass, how far it reaches, and what it is called in the metrics. Pure; no IO.

use crate::fetch::FetchError;
use crate::manifest::ManifestError;
use crate::store::StoreError;
use crate::survey::SurveyError;
use crate::tree::TreeError;

/// Why a pass ended early: something no other file would fare better with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CycleError {
    #[error(transparent)]
    Credential(StoreError),
    #[error(transparent)]
    Survey(#[from] SurveyError),
    #[error("{name} could not be fetched")]
    Fetch { name: Box<str>, source: FetchError },
    #[error("{name} could not be sent or fetched")]
    Mirror { name: Box<str>, source: FetchError },
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("the index cannot be written")]
    Index(#[source] std::io::Error),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("the manifest cannot be fetched")]
    NoManifest(#[source] StoreError),
    #[error("the container changed while it was read; waiting until it holds still")]
    Moving,
    #[error("the releases cannot be arranged")]
    Releases(#[source] std::io::Error),
    #[error("a filter is no glob")]
    Filter(#[from] globset::Error),
    #[error("a part of the pass was cut short")]
    CutShort,
}

impl FetchError {
    /// Whether no other file would fare better.
    pub(crate) fn is_general(&self) -> bool {
        match self {
            Self::Store(error) => error.is_general(),
            Self::Tree(error) => error.is_general(),
            Self::CutShort => true,
            Self::Checksum { .. } | Self::Penalised | Self::Unsettled => false,
        }
    }

    /// The metric label.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Store(error) => error.label(),
            Self::Tree(TreeError::DiskFull(_)) => "disk_full",
            Self::Tree(_) => "disk",
            Self::Checksum { .. } | Self::Penalised => "checksum",
            Self::Unsettled => "changed",
            Self::CutShort => "bug",
        }
    }
}

impl CycleError {
    /// Whether what is under way should be dropped.
    pub(super) const fn is_general(&self) -> bool {
        matches!(
            self,
            Self::Fetch { .. } | Self::Mirror { .. } | Self::Tree(_) | Self::Index(_)
        )
    }

    /// The metric label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Survey(SurveyError::List(error)) => error.label(),
            Self::Survey(SurveyError::Unsorted | SurveyError::TooMany) => "list",
            Self::Survey(SurveyError::Manifest(_)) | Self::Manifest(_) => "manifest",
            Self::Moving => "changed",
            Self::Survey(SurveyError::Index(_)) | Self::Index(_) => "index",
            Self::Survey(SurveyError::Tree(TreeError::DiskFull(_)))
            | Self::Tree(TreeError::DiskFull(_)) => "disk_full",
            Self::Releases(error) if error.kind() == std::io::ErrorKind::StorageFull => "disk_full",
            Self::Survey(SurveyError::Tree(_)) | Self::Tree(_) | Self::Releases(_) => "disk",
            Self::Credential(error) | Self::NoManifest(error) => error.label(),
            Self::Survey(SurveyError::CutShort | SurveyError::Leaving)
            | Self::CutShort
            | Self::Filter(_) => "bug",
            Self::Fetch { source, .. } | Self::Mirror { source, .. } => source.label(),
        }
    }

    /// The error of the storage behind it, if it is one.
    pub(crate) const fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Credential(error)
            | Self::NoManifest(error)
            | Self::Survey(SurveyError::List(error))
            | Self::Fetch {
                source: FetchError::Store(error),
                ..
            }
            | Self::Mirror {
                source: FetchError::Store(error),
                ..
            } => Some(error),
            _ => None,
        }
    }
}
