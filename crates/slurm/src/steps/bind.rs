//! `--cpu-bind`: which CPUs a task is bound to.
use pcluster_steps::message::Bind;

/// The binding of a text such as `verbose,cores`, `none`, `map_cpu:0,1`, `mask_cpu:0x3,0xc`.
///
/// # Errors
/// In Slurm's words, without `srun: error: `.
pub(super) fn parse(text: Option<&str>) -> Result<Bind, String> {
    let Some(text) = text else { return Ok(Bind::Auto) };
    let lower = text.to_ascii_lowercase();
    let words: Vec<&str> = lower.split([',', ';']).map(str::trim).collect();
    let mut bind = Bind::Auto;
    for (at, word) in words.iter().enumerate() {
        let (name, first) =
            word.split_once([':', '=']).map_or((*word, None), |(n, v)| (n, Some(v)));
        match name {
            "" | "q" | "quiet" | "v" | "verbose" | "help" => {}
            "no" | "none" => bind = Bind::Free,
            "cores" | "core" | "threads" | "thread" | "sockets" | "socket" | "ldoms" | "ldom"
            | "rank" | "rank_ldom" | "boards" | "y" | "yes" => bind = Bind::Tasks,
            "map_cpu" | "mask_cpu" => {
                // All that follows belongs to the list.
                let rest = first.into_iter().chain(words.iter().skip(at + 1).copied());
                let sets = rest.filter(|word| !word.is_empty()).map(|word| {
                    let set =
                        if name == "map_cpu" { number(word).map(|n| vec![n]) } else { mask(word) };
                    set.ok_or_else(|| format!("Failed to validate number: {word}"))
                });
                let sets: Vec<Vec<u32>> = sets.collect::<Result<_, _>>()?;
                return if sets.is_empty() {
                    Err(format!("--cpu-bind={name} needs a list"))
                } else {
                    Ok(Bind::Sets(sets))
                };
            }
            // Memory domains are the machine's own affair.
            "map_ldom" | "mask_ldom" => return Ok(Bind::Tasks),
            _ => return Err(format!("unrecognized --cpu-bind argument \"{text}\"")),
        }
    }
    Ok(bind)
}

fn number(text: &str) -> Option<u32> {
    let text = text.split('*').next()?;
    let number = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => text.parse().ok()?,
    };
    (number < 1024).then_some(number)
}

/// The bits of a mask, in hexadecimal with or without `0x`.
fn mask(text: &str) -> Option<Vec<u32>> {
    let text = text.split('*').next()?;
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.is_empty() || digits.len() > 256 {
        return None;
    }
    let mut bits = Vec::new();
    for (place, digit) in digits.chars().rev().enumerate() {
        let digit = digit.to_digit(16)?;
        let place = u32::try_from(place).ok()? * 4;
        bits.extend((0..4).filter(|bit| digit & (1 << bit) != 0).map(|bit| place + bit));
    }
    (!bits.is_empty()).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lists_and_masks() {
        assert_eq!(parse(None), Ok(Bind::Auto));
        assert_eq!(parse(Some("q")), Ok(Bind::Auto));
        assert_eq!(parse(Some("verbose,cores")), Ok(Bind::Tasks));
        assert_eq!(parse(Some("verbose,none")), Ok(Bind::Free));
        assert_eq!(parse(Some("map_cpu:0,3")), Ok(Bind::Sets(vec![vec![0], vec![3]])));
        let masks = Bind::Sets(vec![vec![0, 1], vec![2, 3]]);
        assert_eq!(parse(Some("verbose,mask_cpu:0x3,0xC")), Ok(masks));
        assert!(parse(Some("mask_cpu:zz")).is_err());
        assert!(parse(Some("sideways")).unwrap_err().contains("unrecognized"));
    }
}
