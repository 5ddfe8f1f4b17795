//! Sizes: `200`, `512M`, `16G`, `16GB`.
//!
//! Invariant: what `sbatch --mem` takes and nothing else (`1.5G` and `4GiB` are refused); whole
//! megabytes, begun ones count.

const MIB: u64 = 1 << 20;

/// Bytes; `None` is no size.
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let kib_or_mib = |scale: u64| number.checked_mul(scale);
    let bytes = match text[end..].to_ascii_uppercase().as_str() {
        "" | "M" | "MB" => kib_or_mib(MIB),
        "K" | "KB" => number.div_ceil(1024).checked_mul(MIB),
        "G" | "GB" => kib_or_mib(MIB << 10),
        "T" | "TB" => kib_or_mib(MIB << 20),
        _ => None,
    };
    bytes.filter(|bytes| i64::try_from(*bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_sbatch_reads_them() {
        let cases = [
            ("5", 5),
            ("5k", 1),
            ("1023K", 1),
            ("1025KB", 2),
            ("5MB", 5),
            ("5g", 5120),
            ("5GB", 5120),
            ("1T", 1 << 20),
            ("0", 0),
        ];
        for (text, mib) in cases {
            assert_eq!(bytes(text), Some(mib << 20), "{text}");
        }
        for bad in ["", "x", "-5", "1.5G", "5 G", "5Gi", "5GiB", "5B", "5P", "4Q", "99999999999T"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9]{0,22}[a-zA-Zé ]{0,4}") {
            let _ = bytes(&text);
        }
    }
}
