//! One value of the file, read by its kind.
//!
//! Invariant: a `Value` is of the kind its key asks for. Deliberately absent: what a value means
//! beside others (`build`).
use crate::hostlist;
use crate::keys::Kind;
use crate::nearest::nearest;
use crate::problem::{Problem, ProblemKind};
use pcluster_model::config::ShareSource;
use pcluster_model::units::{self, UnitError};
use pcluster_model::{DurationMs, MicroUsd, Price};
use std::ops::Range;
use toml::de::DeValue;

type Span = Range<usize>;

/// A value with its type resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Bool(bool),
    Count(u64),
    Percent(u32),
    Size(u64),
    Duration(DurationMs),
    /// The word that switches a limit off, or an extra word beside true and false.
    Word(&'static str),
    Price(Price),
    Money(MicroUsd),
    Gpus {
        count: u32,
        model: String,
    },
    Texts(Vec<(String, Span)>),
    Share(ShareSource),
    Table,
}

impl Value {
    /// As it would be written in the file.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Text(text) => quote(text),
            Self::Bool(value) => value.to_string(),
            Self::Count(value) => value.to_string(),
            Self::Percent(value) => format!("\"{value} %\""),
            Self::Size(bytes) => quote(&units::format_size(*bytes)),
            Self::Duration(span) => quote(&units::format_duration(*span)),
            Self::Word(word) => quote(word),
            Self::Price(price) => quote(&price.to_string()),
            Self::Money(amount) => quote(&amount.to_string()),
            Self::Gpus { count, model } if model.is_empty() => count.to_string(),
            Self::Gpus { count, model } => quote(&format!("{count} {model}")),
            Self::Texts(texts) => show_texts(texts.iter().map(|(text, _)| text.as_str())),
            Self::Share(source) => quote(&share_text(source)),
            Self::Table => "{ … }".into(),
        }
    }
}

/// A text in quotes, as TOML and people read it.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A list of texts as it would be written.
pub(crate) fn show_texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    format!("[{}]", texts.into_iter().map(quote).collect::<Vec<_>>().join(", "))
}

/// How `storage.from` is written.
pub(crate) fn share_text(source: &ShareSource) -> String {
    match source {
        ShareSource::Head => "head".into(),
        ShareSource::Mounted => "mounted".into(),
        ShareSource::Nfs(place) => format!("nfs:{place}"),
        ShareSource::Efs(id) => format!("efs:{id}"),
        ShareSource::Fsx(id) => format!("fsx:{id}"),
    }
}

/// The type of what stands there, with its article.
pub(crate) fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text in quotes",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(true) => "true",
        DeValue::Boolean(false) => "false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The text of a string or a number, which the parsers of units read alike.
fn scalar_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_string()),
        DeValue::Float(number) => Some(number.as_str().to_string()),
        _ => None,
    }
}

/// Reads values; knows only the home directory.
pub(crate) struct Reader<'a> {
    pub(crate) home: &'a str,
}

impl Reader<'_> {
    /// Reads `value` as `kind`; `name` is the key for messages.
    pub(crate) fn read(
        &self,
        name: &str,
        kind: Kind,
        value: &DeValue<'_>,
        span: Span,
    ) -> Result<Value, Problem> {
        let wrong = || wrong_type(name, kind, value, span.clone());
        match kind {
            Kind::Text => value.as_str().map(|text| Value::Text(text.into())).ok_or_else(wrong),
            Kind::Path => {
                let text = value.as_str().ok_or_else(wrong)?;
                if text.is_empty() {
                    return Err(bad(format!("`{name}` is empty"), &span).label("write a path"));
                }
                Ok(Value::Text(self.expand_home(text)))
            }
            Kind::Bool => value.as_bool().map(Value::Bool).ok_or_else(wrong),
            Kind::BoolOr(word) => match value {
                DeValue::Boolean(value) => Ok(Value::Bool(*value)),
                DeValue::String(text) if text == word => Ok(Value::Word(word)),
                _ => Err(wrong()),
            },
            Kind::Count { min, max } => read_count(name, min, max, value, &span, wrong),
            Kind::Percent => read_percent(name, value, &span, wrong),
            Kind::Gpus => read_gpus(name, value, &span, wrong),
            Kind::OneOf(words) => {
                let text = value.as_str().ok_or_else(wrong)?;
                one_of(name, words, text, &span).map(|word| Value::Text(word.into()))
            }
            Kind::Texts => read_texts(name, value, wrong).map(Value::Texts),
            Kind::Hosts => read_hosts(name, value, wrong),
            Kind::ShareFrom => {
                let text = value.as_str().ok_or_else(wrong)?;
                share_source(name, text, &span).map(Value::Share)
            }
            Kind::Listen => {
                let text = value.as_str().ok_or_else(wrong)?;
                check_listen(name, text, &span)?;
                Ok(Value::Text(text.into()))
            }
            Kind::Size | Kind::Duration | Kind::DurationOr(_) | Kind::Price | Kind::Money => {
                let text = scalar_text(value).ok_or_else(wrong)?;
                read_unit(kind, &text).map_err(|error| unit_problem(name, kind, &error, &span))
            }
            Kind::Table | Kind::TableList => Err(wrong()),
        }
    }

    fn expand_home(&self, text: &str) -> String {
        match text.strip_prefix('~') {
            Some("") => self.home.to_string(),
            Some(rest) if rest.starts_with('/') => {
                format!("{}{rest}", self.home.trim_end_matches('/'))
            }
            _ => text.to_string(),
        }
    }
}

fn read_unit(kind: Kind, text: &str) -> Result<Value, UnitError> {
    Ok(match kind {
        Kind::Size => Value::Size(units::parse_size(text)?),
        Kind::Price => Value::Price(units::parse_price(text)?),
        Kind::Money => Value::Money(units::parse_money(text)?),
        Kind::DurationOr(word) if text.trim() == word => Value::Word(word),
        _ => Value::Duration(units::parse_duration(text)?),
    })
}

fn unit_problem(name: &str, kind: Kind, error: &UnitError, span: &Span) -> Problem {
    let label = error
        .allowed()
        .map_or_else(|| format!("must be {}", kind.noun()), |allowed| format!("write {allowed}"));
    let problem = bad(error.brief(), span).label(label);
    let last = name.rsplit('.').next().unwrap_or(name);
    match error {
        UnitError::NoUnit { did, .. } => problem.hint(format!("{last} = \"{did}\"")),
        UnitError::Form { .. } | UnitError::UnknownUnit { .. } => {
            problem.hint(format!("{last} = {}", kind.example()))
        }
        _ => problem,
    }
}

pub(crate) fn bad(message: impl Into<String>, span: &Span) -> Problem {
    Problem::new(ProblemKind::BadValue, message, Some(span.clone()))
}

fn wrong_type(name: &str, kind: Kind, value: &DeValue<'_>, span: Span) -> Problem {
    let message = format!("`{name}` must be {}", kind.noun());
    let problem = Problem::new(ProblemKind::WrongType, message, Some(span))
        .label(format!("this is {}", found(value)));
    let last = name.rsplit('.').next().unwrap_or(name);
    let better = match (kind, value) {
        (Kind::Bool | Kind::BoolOr(_), DeValue::String(text)) if is_bool(text) => {
            Some(text.to_string())
        }
        (Kind::Count { .. }, DeValue::String(text)) if is_number(text) => Some(text.to_string()),
        (Kind::Texts | Kind::Hosts, DeValue::String(text)) => Some(format!("[{}]", quote(text))),
        (Kind::Text | Kind::Path | Kind::OneOf(_), DeValue::Integer(number)) => {
            Some(quote(number.as_str()))
        }
        (Kind::Table, _) if !name.contains('.') => {
            return problem.hint(format!("a table: [{name}] and its keys below it"));
        }
        (Kind::Table | Kind::TableList, _) => None,
        _ => Some(kind.example()),
    };
    match better {
        Some(better) => problem.hint(format!("{last} = {better}")),
        None => problem,
    }
}

fn is_bool(text: &str) -> bool {
    matches!(text, "true" | "false")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn read_count(
    name: &str,
    min: u64,
    max: u64,
    value: &DeValue<'_>,
    span: &Span,
    wrong: impl Fn() -> Problem,
) -> Result<Value, Problem> {
    let DeValue::Integer(number) = value else { return Err(wrong()) };
    let outside = || {
        bad(format!("`{name}` is {number}, which is not possible"), span)
            .label(format!("allowed: {min} to {max}"))
    };
    let digits = number.as_str().replace('_', "");
    let count = u64::from_str_radix(digits.trim_start_matches('+'), number.radix());
    match count {
        Ok(count) if (min..=max).contains(&count) => Ok(Value::Count(count)),
        _ => Err(outside()),
    }
}

fn read_percent(
    name: &str,
    value: &DeValue<'_>,
    span: &Span,
    wrong: impl Fn() -> Problem,
) -> Result<Value, Problem> {
    let text = scalar_text(value).ok_or_else(&wrong)?;
    let number = text.trim().trim_end_matches('%').trim_end();
    match number.parse::<u32>() {
        Ok(percent) if percent <= 100 => Ok(Value::Percent(percent)),
        Ok(_) => Err(bad(format!("`{name}` is more than 100 %"), span).label("allowed: 0 to 100")),
        Err(_) => Err(wrong()),
    }
}

fn read_gpus(
    name: &str,
    value: &DeValue<'_>,
    span: &Span,
    wrong: impl Fn() -> Problem,
) -> Result<Value, Problem> {
    let text = match value {
        DeValue::Float(_) => return Err(wrong()),
        other => scalar_text(other).ok_or_else(&wrong)?,
    };
    let (count, model) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let model = model.trim().to_lowercase();
    let right = model.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    match count.parse::<u32>() {
        Ok(count) if count <= 1024 && right => Ok(Value::Gpus { count, model }),
        _ => Err(bad(format!("`{name}` is not a number of GPUs"), span)
            .label("write 1 or \"1 rtx4090\"")),
    }
}

/// The word itself, or a problem with the nearest one.
fn one_of<'w>(name: &str, words: &[&'w str], text: &str, span: &Span) -> Result<&'w str, Problem> {
    if let Some(word) = words.iter().find(|word| **word == text) {
        return Ok(word);
    }
    let all = words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(", ");
    let problem =
        bad(format!("`{name}` cannot be {}", quote(text)), span).label(format!("allowed: {all}"));
    Err(match nearest(text, words.iter().copied()) {
        Some(near) => problem.hint(format!("did you mean {}?", quote(near))),
        None => problem,
    })
}

fn read_texts(
    name: &str,
    value: &DeValue<'_>,
    wrong: impl Fn() -> Problem,
) -> Result<Vec<(String, Span)>, Problem> {
    let DeValue::Array(items) = value else { return Err(wrong()) };
    let mut texts: Vec<(String, Span)> = Vec::new();
    for item in items.iter() {
        let at = item.span();
        let DeValue::String(text) = item.get_ref() else {
            return Err(wrong_type(&format!("each of {name}"), Kind::Text, item.get_ref(), at));
        };
        if text.is_empty() {
            return Err(bad(format!("`{name}` has an empty text in its list"), &at).label("empty"));
        }
        if texts.iter().any(|(earlier, _)| earlier == text) {
            let message = format!("`{name}` names {} twice", quote(text));
            return Err(bad(message, &at).label("the second time"));
        }
        texts.push((text.to_string(), at));
    }
    Ok(texts)
}

fn read_hosts(
    name: &str,
    value: &DeValue<'_>,
    wrong: impl Fn() -> Problem,
) -> Result<Value, Problem> {
    let mut hosts: Vec<(String, Span)> = Vec::new();
    for (text, at) in read_texts(name, value, wrong)? {
        let expanded = hostlist::expand(&text).map_err(|error| {
            bad(format!("{} is not a host list: {error}", quote(&text)), &at)
                .label("write names such as \"ws01\" or \"ws[01-08]\"")
        })?;
        for host in expanded {
            if hosts.iter().any(|(earlier, _)| *earlier == host) {
                let message = format!("`{name}` names host {host} twice");
                return Err(bad(message, &at).label("the second time"));
            }
            hosts.push((host, at.clone()));
        }
    }
    Ok(Value::Texts(hosts))
}

fn share_source(name: &str, text: &str, span: &Span) -> Result<ShareSource, Problem> {
    let part = |prefix: &str| text.strip_prefix(prefix).map(str::to_string);
    let id = |rest: String, prefix: &str| {
        let right = rest
            .strip_prefix("fs-")
            .is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if right {
            return Ok(rest);
        }
        Err(bad(format!("`{name}` names no file system"), span)
            .label(format!("write \"{prefix}fs-0123456789abcdef0\"")))
    };
    if text == "head" {
        return Ok(ShareSource::Head);
    }
    if text == "mounted" {
        return Ok(ShareSource::Mounted);
    }
    if let Some(rest) = part("efs:") {
        return id(rest, "efs:").map(ShareSource::Efs);
    }
    if let Some(rest) = part("fsx:") {
        let (own, mount) = rest.split_once('/').unwrap_or((rest.as_str(), "fsx"));
        id(own.to_owned(), "fsx:")?;
        if mount.is_empty() || !mount.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(bad(format!("`{name}` has no mount name after its file system"), span)
                .label("write \"fsx:fs-0123456789abcdef0/MOUNTNAME\", as its page in the console has it"));
        }
        return Ok(ShareSource::Fsx(rest));
    }
    if let Some(rest) = part("nfs:") {
        let right = rest.split_once(':').is_some_and(|(host, path)| {
            !host.is_empty() && path.starts_with('/') && !host.contains(char::is_whitespace)
        });
        return if right {
            Ok(ShareSource::Nfs(rest))
        } else {
            Err(bad(format!("`{name}` names no NFS export"), span)
                .label("write \"nfs:HOST:/PATH\""))
        };
    }
    let problem = bad(format!("`{name}` cannot be {}", quote(text)), span).label(
        "allowed: \"head\", \"mounted\", \"nfs:HOST:/PATH\", \"efs:ID\", \"fsx:ID/MOUNTNAME\"",
    );
    Err(match nearest(text, ["head", "mounted"]) {
        Some(near) => problem.hint(format!("did you mean {}?", quote(near))),
        None => problem,
    })
}

fn check_listen(name: &str, text: &str, span: &Span) -> Result<(), Problem> {
    let right = text.rsplit_once(':').is_some_and(|(address, port)| {
        let address = address.trim_start_matches('[').trim_end_matches(']');
        address.parse::<std::net::IpAddr>().is_ok() && port.parse::<u16>().is_ok()
    });
    if right {
        return Ok(());
    }
    Err(bad(format!("`{name}` is not an address with a port"), span)
        .label("write \"10.0.0.1:7443\" or \"[::1]:7443\""))
}
