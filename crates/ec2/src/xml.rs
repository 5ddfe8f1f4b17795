//! A reply as a tree of names and texts.
//!
//! Invariant: any bytes give a tree or an error; depth and number of elements are bounded, entities of a
//! reply's own are refused. Deliberately absent: attributes and namespaces, which the API does not use.
use quick_xml::Reader;
use quick_xml::events::Event;

const DEEPEST: usize = 64;
const MOST: usize = 2_000_000;

/// One element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    pub name: String,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// The tree of a reply.
    ///
    /// # Errors
    /// Why these bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Self> = vec![Self::default()];
        let mut count = 0;
        loop {
            let event = reader.read_event().map_err(|error| error.to_string())?;
            let top = open.last_mut().ok_or("it closes what it did not open")?;
            match event {
                Event::Start(start) => {
                    count += 1;
                    if open.len() > DEEPEST || count > MOST {
                        return Err("it is too large".to_owned());
                    }
                    open.push(Self::named(start.local_name().as_ref()));
                }
                Event::Empty(start) => top.children.push(Self::named(start.local_name().as_ref())),
                Event::End(_) => {
                    let done = open.pop().ok_or("it closes what it did not open")?;
                    let parent = open.last_mut().ok_or("it closes what it did not open")?;
                    parent.children.push(done);
                }
                Event::Text(text) => top.text.push_str(&text.xml10_content()),
                Event::CData(text) => top.text.push_str(&text.xml10_content()),
                Event::GeneralRef(name) => {
                    let letter = name.resolve_char_ref().map_err(|error| error.to_string())?;
                    let letter = letter.or_else(|| entity(&name));
                    top.text.push(letter.ok_or("it has an entity that the API does not have")?);
                }
                Event::Eof => break,
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
        match (open.len(), open.pop().and_then(|mut top| top.children.pop())) {
            (1, Some(root)) => Ok(root),
            _ => Err("it is not whole".to_owned()),
        }
    }

    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The first child of that name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text at a path such as `instanceState/name`.
    #[must_use]
    pub fn text_at(&self, path: &str) -> Option<&str> {
        let mut here = self;
        for name in path.split('/') {
            here = here.child(name)?;
        }
        Some(here.text.trim())
    }

    /// The `item`s of the child of that name; none where there is no such child.
    pub fn items<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Self> + use<'a> {
        let all = self.child(name).map_or(&[][..], |set| &set.children);
        all.iter().filter(|child| child.name == "item")
    }

    /// `key` and `value` of all items below `tagSet`.
    pub fn tags(&self) -> impl Iterator<Item = (&str, &str)> {
        self.items("tagSet").filter_map(|item| Some((item.text_at("key")?, item.text_at("value")?)))
    }
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "apos" => '\'',
        "quot" => '"',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_a_tree() {
        let text = br#"<?xml version="1.0"?><R xmlns="urn:x"><!-- c --><set>
            <item><a>1 &lt; &#50;</a><e/></item><item><a> b </a></item></set>
            <tagSet><item><key>Name</key><value>n &amp; m</value></item></tagSet></R>"#;
        let reply = Element::parse(text).unwrap();
        let items: Vec<_> = reply.items("set").map(|item| item.text_at("a").unwrap()).collect();
        assert_eq!((reply.name.as_str(), items), ("R", vec!["1 < 2", "b"]));
        assert_eq!(reply.tags().collect::<Vec<_>>(), [("Name", "n & m")]);
        assert_eq!(reply.text_at("set/item/e"), Some(""));
        assert_eq!(reply.text_at("set/none"), None);
        assert_eq!(reply.items("none").count(), 0);
    }

    #[test]
    fn anything_else_is_an_error() {
        let deep = "<a>".repeat(100);
        for text in
            ["", "plain", "<a>", "<a></b>", "</a>", "<a>&own;</a>", "<a><b></a></b>", &deep, "<a"]
        {
            assert!(Element::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(Element::parse(b"<a>\xff</a>").is_err());
    }
}
