//! `sprio`: the priority of jobs that wait.
//!
//! Invariant: one number decides here, priority and then the order of submission; every factor that
//! Slurm could add is 0. Deliberately absent: factors.
use super::squeue::View;
use crate::options::{Effect, Table, Takes, Words, own};
use crate::refusal::Refusal;
use crate::words::columns::{Cell, Format};
use crate::words::jobid::{self, JobId};
use crate::words::{Clock, job};
use pcluster_api::{JobRecord, RecordList};

/// The options of `sprio`.
pub const SPRIO: Table = Table::own(
    "sprio",
    "",
    "Shows the priority of jobs that wait.",
    "  sprio -l\n  sprio -o '%i %Y %u'\n",
    &[
        own("cluster", '-', Takes::Value("NAME"), Effect::Silent("there is one"), ""),
        own("clusters", 'M', Takes::Value("NAME"), Effect::Silent("there is one"), ""),
        own("federation", '-', Takes::Nothing, Effect::Silent("there is one cluster"), ""),
        own("format", 'o', Takes::Value("FORMAT"), Effect::Used, "fields by letter: %i %Y"),
        own("help", '-', Takes::Nothing, Effect::Used, "this text"),
        own("jobs", 'j', Takes::MaybeNext("IDS"), Effect::Used, "only these jobs"),
        own("local", '-', Takes::Nothing, Effect::Silent("there is one cluster"), ""),
        own("long", 'l', Takes::Nothing, Effect::Used, "more columns"),
        own("noheader", 'h', Takes::Nothing, Effect::Used, "no headline"),
        own("norm", 'n', Takes::Nothing, Effect::Used, "as parts of the highest"),
        own("partition", 'p', Takes::Value("NAMES"), Effect::Used, "only in these partitions"),
        own("sibling", '-', Takes::Nothing, Effect::Silent("there is one cluster"), ""),
        own("sort", 'S', Takes::Value("FIELDS"), Effect::Used, "order: i,-y"),
        own("usage", '-', Takes::Nothing, Effect::Used, "all options in short"),
        own("user", 'u', Takes::Value("NAMES"), Effect::Used, "only jobs of these users"),
        own("verbose", 'v', Takes::Nothing, Effect::Silent("nothing more is known"), ""),
        own("version", 'V', Takes::Nothing, Effect::Used, "the version that clients compare"),
        own("weights", 'w', Takes::Nothing, Effect::Used, "weights of the factors: all 0"),
    ],
);

const DEFAULT: &str = "%.15i %9r %.10Y %.10S";
const LONG: &str = "%.15i %9r %.8u %.10Y %.10S %.10A %.10B %.10F %.10J %.10P %.10Q %.11N %.20T";
const NORM: &str = "%.15i %9r %.10y %.10S";

/// Letter and heading of every field.
const HEADINGS: [(char, &str); 25] = [
    ('a', "AGE"),
    ('A', "AGE"),
    ('b', "ASSOC"),
    ('B', "ASSOC"),
    ('c', "CLUSTER"),
    ('f', "FAIRSHARE"),
    ('F', "FAIRSHARE"),
    ('i', "JOBID"),
    ('j', "JOBSIZE"),
    ('J', "JOBSIZE"),
    ('n', "QOSNAME"),
    ('N', "NICE"),
    ('o', "ACCOUNT"),
    ('p', "PARTITION"),
    ('P', "PARTITION"),
    ('q', "QOS"),
    ('Q', "QOS"),
    ('r', "PARTITION"),
    ('s', "SITE"),
    ('S', "SITE"),
    ('t', "TRES"),
    ('T', "TRES"),
    ('u', "USER"),
    ('Y', "PRIORITY"),
    ('y', "PRIORITY"),
];

fn value(letter: char, record: &JobRecord, view: &View) -> String {
    match letter {
        'i' => job::id(record),
        'r' => record.pool.clone(),
        'u' => record.user.clone(),
        'o' => record.account.clone(),
        'n' => job::qos(record).to_owned(),
        'c' => view.cluster.clone(),
        'N' => job::nice(record).to_string(),
        'Y' => job::priority(record).to_string(),
        'y' => format!("{:.14}", f64::from(job::priority(record)) / f64::from(u32::MAX)),
        't' | 'T' => String::new(),
        'a' | 'b' | 'f' | 'j' | 'p' | 'q' => "0.0000000".to_owned(),
        _ => "0".to_owned(),
    }
}

/// The ids that are asked for.
///
/// # Errors
/// A word that is none.
pub fn ids(words: &Words) -> Result<Vec<JobId>, Refusal> {
    let text = words.value("jobs").unwrap_or("");
    jobid::list(text).map_err(|word| Refusal::error("sprio", format!("Invalid job id: {word}"), 1))
}

/// The users of the options.
#[must_use]
pub fn users(words: &Words) -> Vec<String> {
    words.value("user").map_or_else(Vec::new, |text| text.split(',').map(str::to_owned).collect())
}

/// The page of jobs that wait.
///
/// # Errors
/// None of the ids that are asked for waits.
pub fn page(
    list: &RecordList,
    words: &Words,
    ids: &[JobId],
    clock: &Clock,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<String, Refusal> {
    let view = View::of(list, clock);
    let own = variable("SPRIO_FORMAT").filter(|text| !text.is_empty());
    let text = match (words.value("format"), words.has("long"), words.has("norm"), &own) {
        (Some(text), ..) => text,
        (_, true, ..) => LONG,
        (_, _, true, _) => NORM,
        (.., Some(own)) => own,
        _ => DEFAULT,
    };
    let heading = |letter: char| HEADINGS.iter().find(|(known, _)| *known == letter);
    let (format, unknown) = Format::letters(text, heading);
    if let Some(letter) = unknown.first() {
        let text = format!("Invalid job format specification: {letter}");
        return Err(Refusal::error("sprio", text, 1));
    }
    let mut out = String::new();
    if !words.has("noheader") {
        out.push_str(&format.line(|(_, heading)| Cell::from(*heading)));
    }
    if words.has("weights") {
        let weight = |letter: char| match letter {
            'i' => "Weights",
            'r' | 'u' | 'Y' | 'y' | 'o' | 'n' | 'c' | 'N' => "",
            _ => "0",
        };
        out.push_str(&format.line(|(letter, _)| Cell::from(weight(*letter))));
        return Ok(out);
    }
    let among = |name: &str, value: &str| {
        words.value(name).is_none_or(|text| text.split(',').any(|one| one == value))
    };
    let is_meant = |record: &&JobRecord| {
        job::waits(record)
            && record.ended_at_ms.is_none()
            && (ids.is_empty() || ids.iter().any(|id| id.means(record)))
            && among("partition", &record.pool)
            && (among("user", &record.user) || among("user", &record.uid.to_string()))
    };
    let mut records: Vec<&JobRecord> = list.records.iter().filter(is_meant).collect();
    if records.is_empty() && !ids.is_empty() {
        return Err(Refusal::plain("Unable to find jobs matching user/id(s) specified", 1));
    }
    records.sort_by_key(|record| (record.job, record.task));
    if words.value("sort").is_some_and(|by| by.to_ascii_lowercase().starts_with("-y")) {
        records.sort_by_key(|record| std::cmp::Reverse(job::priority(record)));
    }
    for record in records {
        out.push_str(&format.line(|(letter, _)| Cell::from(value(*letter, record, &view))));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{self, Order};
    use crate::words::made_up;

    fn sprio(args: &[&str]) -> Result<String, Refusal> {
        sprio_with(args, "")
    }

    fn sprio_with(args: &[&str], format: &str) -> Result<String, Refusal> {
        let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
        let words = options::parse(&SPRIO, &args, Order::Permute).expect("options");
        let list =
            made_up::records(vec![made_up::running(5), made_up::pending(7), made_up::pending(6)]);
        page(&list, &words, &ids(&words)?, &made_up::clock(), |_| Some(format.to_owned()))
    }

    #[test]
    fn only_what_waits_is_listed_by_its_number() {
        insta::assert_snapshot!(sprio(&[]).expect("a page"), @r"
                  JOBID PARTITION   PRIORITY       SITE
                      6 main      4294901754          0
                      7 main      4294901753          0
        ");
        assert_eq!(
            sprio(&["-h", "-j", "7", "-o", "%i %u %Y"]).expect("a page"),
            "7 root 4294901753\n"
        );
        assert_eq!(sprio(&["-h", "-w", "-o", "%.8i %A"]).expect("a page"), " Weights 0\n");
        assert_eq!(sprio_with(&["-h", "-j", "7"], "%i").expect("a page"), "7\n");
        assert_eq!(sprio_with(&["-h", "-j", "7", "-o", "%u"], "%i").expect("a page"), "root\n");
        assert_eq!(sprio(&["-j", "5"]).expect_err("runs").code, 1);
    }
}
