//! The parameters of a call, in the order in which they were given.

/// `Filter.1.Name=…` and its like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.push(key, value);
        self
    }

    pub fn push(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.push((key.into(), value.into()));
    }

    /// `KEY.1`, `KEY.2` …
    #[must_use]
    pub fn list<T: AsRef<str>>(mut self, key: &str, values: impl IntoIterator<Item = T>) -> Self {
        for (value, number) in values.into_iter().zip(1..) {
            self.push(format!("{key}.{number}"), value.as_ref());
        }
        self
    }

    /// Only what has one of these values.
    #[must_use]
    pub fn filter<T: AsRef<str>>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        let number = self.0.iter().filter(|(key, _)| is_filter_name(key)).count() + 1;
        let filter = format!("Filter.{number}");
        self.with(format!("{filter}.Name"), name).list(&format!("{filter}.Value"), values)
    }

    /// Tags that a thing of this kind has from its birth.
    #[must_use]
    pub fn tags<'a>(
        mut self,
        resource: &str,
        tags: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let kinds = self.0.iter().filter(|(key, _)| key.ends_with(".ResourceType")).count();
        let place = format!("TagSpecification.{}", kinds + 1);
        self.push(format!("{place}.ResourceType"), resource);
        for ((key, value), number) in tags.into_iter().zip(1..) {
            self.push(format!("{place}.Tag.{number}.Key"), key);
            self.push(format!("{place}.Tag.{number}.Value"), value);
        }
        self
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// The body of the call.
    pub(crate) fn body(&self, action: &str, version: &str) -> String {
        let own = [("Action", action), ("Version", version)];
        let given = self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let mut text = String::new();
        for (key, value) in own.into_iter().chain(given) {
            if !text.is_empty() {
                text.push('&');
            }
            encode(key, &mut text);
            text.push('=');
            encode(value, &mut text);
        }
        text
    }
}

fn is_filter_name(key: &str) -> bool {
    key.starts_with("Filter.") && key.ends_with(".Name")
}

/// All but the characters that RFC 3986 leaves alone.
fn encode(text: &str, to: &mut String) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_filters_and_tags_are_numbered() {
        let params = Params::new()
            .list("InstanceId", ["i-1", "i-2"])
            .filter("tag:pcluster:cluster", ["a b"])
            .filter("instance-state-name", ["pending", "running"])
            .tags("instance", [("Name", "x&y")])
            .tags("volume", [("k", "ü")]);
        assert_eq!(
            params.body("DescribeInstances", "2016-11-15"),
            "Action=DescribeInstances&Version=2016-11-15&InstanceId.1=i-1&InstanceId.2=i-2\
             &Filter.1.Name=tag%3Apcluster%3Acluster&Filter.1.Value.1=a%20b\
             &Filter.2.Name=instance-state-name&Filter.2.Value.1=pending&Filter.2.Value.2=running\
             &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name\
             &TagSpecification.1.Tag.1.Value=x%26y&TagSpecification.2.ResourceType=volume\
             &TagSpecification.2.Tag.1.Key=k&TagSpecification.2.Tag.1.Value=%C3%BC"
        );
        assert_eq!(params.get("InstanceId.2"), Some("i-2"));
    }
}
