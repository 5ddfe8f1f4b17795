//! Numbers of options: whole and at least 1; node counts with a range and `k` or `m`.

/// A whole number of at least 1.
#[must_use]
pub fn at_least_one(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok().filter(|number| *number > 0) } else { None }
}

/// Why a text is no count of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodesError {
    Form,
    /// Most and least.
    Backwards(u32, u32),
}

/// `4`, `2-8`, `4k`: least and most.
///
/// # Errors
/// [`NodesError`].
pub fn nodes(text: &str) -> Result<(u32, Option<u32>), NodesError> {
    let (least, most) = match text.split_once('-') {
        Some((least, most)) => (least, Some(most)),
        None => (text, None),
    };
    let least = count(least).ok_or(NodesError::Form)?;
    let most = most.map(|most| count(most).ok_or(NodesError::Form)).transpose()?;
    match most {
        Some(most) if most < least => Err(NodesError::Backwards(most, least)),
        most => Ok((least, most)),
    }
}

fn count(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u32 = text[..end].parse().ok()?;
    match &text[end..] {
        "" => Some(number),
        "k" | "K" => number.checked_mul(1024),
        "m" | "M" => number.checked_mul(1 << 20),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole() {
        assert_eq!(at_least_one("4"), Some(4));
        for bad in ["", "0", "-1", "x", "4k", "4,", "99999999999", "+4"] {
            assert_eq!(at_least_one(bad), None, "{bad}");
        }
    }

    #[test]
    fn counts_of_nodes_may_be_ranges() {
        assert_eq!(nodes("4"), Ok((4, None)));
        assert_eq!(nodes("2-4"), Ok((2, Some(4))));
        assert_eq!(nodes("1k"), Ok((1024, None)));
        assert_eq!(nodes("2-1"), Err(NodesError::Backwards(1, 2)));
        for bad in ["", "x", "=", "1,2", "1-", "-2", "1-2-3"] {
            assert_eq!(nodes(bad), Err(NodesError::Form), "{bad}");
        }
    }
}
