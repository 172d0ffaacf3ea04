//! Canonical names of resources.
//!
//! A path is parsed once, at the edge, into [`Path`]: what policy checks and what the store is asked for are the same
//! value. Text that breaks a rule is refused, never repaired.

use std::{fmt, str::FromStr};

use unicode_normalization::is_nfc;

use crate::limits::{PATH_BYTES_MAX, PATH_SEGMENTS_MAX, SEGMENT_BYTES_MAX};

/// Why a text is not a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It has no segment.
    #[error("the path is empty")]
    Empty,
    /// It is longer than [`PATH_BYTES_MAX`].
    #[error("the path is longer than {PATH_BYTES_MAX} bytes")]
    TooLong,
    /// It has more than [`PATH_SEGMENTS_MAX`] segments.
    #[error("the path has more than {PATH_SEGMENTS_MAX} segments")]
    TooManySegments,
    /// A segment is empty: a slash at an end, or two in a row.
    #[error("the path has an empty segment: no slash at either end, no two in a row")]
    EmptySegment,
    /// A segment is longer than [`SEGMENT_BYTES_MAX`].
    #[error("a segment of the path is longer than {SEGMENT_BYTES_MAX} bytes")]
    SegmentTooLong,
    /// A segment is `.` or `..`.
    #[error("a segment of the path is '.' or '..'")]
    DotSegment,
    /// A segment begins or ends with white space.
    #[error("a segment of the path begins or ends with a space")]
    SpaceAtEnd,
    /// There is a control character, or one that cannot be seen.
    #[error("the path has a control or invisible character")]
    Control,
    /// It is not in Unicode normalisation form C.
    #[error("the path is not in Unicode normalisation form C")]
    NotNormalised,
    /// A segment is `*` or `**` where only one path can be meant.
    #[error("a segment of the path is '*' or '**', which only patterns have")]
    Wildcard,
}

/// The canonical name of a resource inside a tenant: `mount/segment/...`, 1 to [`PATH_SEGMENTS_MAX`] segments.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Box<str>);

impl Path {
    /// The path's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, the mount first.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.0.split('/')
    }

    /// The mount: the first segment.
    #[must_use]
    pub fn mount(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(mount, _)| mount)
    }

    /// The segments below the mount; none where the path is a mount alone.
    pub fn below_mount(&self) -> impl Iterator<Item = &str> + Clone {
        self.segments().skip(1)
    }

    /// The path one segment shorter; `None` for a mount.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.into()))
    }

    /// This path, then its parents, the mount last.
    pub fn and_parents(&self) -> impl Iterator<Item = &str> {
        let ends = self.0.match_indices('/').map(|(at, _)| at).rev();
        std::iter::once(self.as_str()).chain(ends.filter_map(|at| self.0.get(..at)))
    }

    /// Whether this path is `folder` or lies below it.
    #[must_use]
    pub fn is_within(&self, folder: &Self) -> bool {
        self.0.strip_prefix(folder.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        if text.split('/').count() > PATH_SEGMENTS_MAX {
            return Err(PathError::TooManySegments);
        }
        text.split('/').try_for_each(check_segment)?;
        if !is_nfc(text) {
            return Err(PathError::NotNormalised);
        }
        Ok(Self(text.into()))
    }
}

fn check_segment(segment: &str) -> Result<(), PathError> {
    match segment {
        "" => return Err(PathError::EmptySegment),
        "." | ".." => return Err(PathError::DotSegment),
        "*" | "**" => return Err(PathError::Wildcard),
        _ => {}
    }
    if segment.len() > SEGMENT_BYTES_MAX {
        return Err(PathError::SegmentTooLong);
    }
    if segment.starts_with(char::is_whitespace) || segment.ends_with(char::is_whitespace) {
        return Err(PathError::SpaceAtEnd);
    }
    if segment.chars().any(|c| c.is_control() || is_invisible(c)) {
        return Err(PathError::Control);
    }
    Ok(())
}

/// Characters that are drawn as nothing or turn the direction of text (Unicode's default-ignorable ones, line and
/// paragraph separators): with them, two names could look the same.
const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({})", self.as_str())
    }
}

/// Which paths a grant is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PathPattern {
    /// This path alone.
    Exact(Path),
    /// Everything below this path, and not the path itself: `kv/prod/**`.
    Below(Path),
}

impl PathPattern {
    /// Whether the pattern is for this path.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Below(folder) => path != folder && path.is_within(folder),
        }
    }

    /// The path that the pattern is written with, without `/**`.
    #[must_use]
    pub const fn base(&self) -> &Path {
        match self {
            Self::Exact(path) | Self::Below(path) => path,
        }
    }
}

impl FromStr for PathPattern {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        text.strip_suffix("/**").map_or_else(|| text.parse().map(Self::Exact), |base| base.parse().map(Self::Below))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => path.fmt(f),
            Self::Below(path) => write!(f, "{path}/**"),
        }
    }
}

stored_as_text!(Path, PathPattern);

#[cfg(test)]
mod tests;
