//! A line of options as words.
//!
//! Invariant: as `sbatch` splits its lines, checked against it: `"…"` and `'…'` hold blanks, `\`
//! takes the next character as it is (in quotes too), an unquoted `#` ends the line even inside a
//! word, and a word of nothing is no word.

/// The words of `text`.
///
/// # Errors
/// The quote that is never closed.
pub fn split(text: &str) -> Result<Vec<String>, char> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (_, '\\') => word.extend(chars.next().filter(|next| *next != '\n')),
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.push(c),
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') => break,
            (None, c) if c.is_ascii_whitespace() => words.push(std::mem::take(&mut word)),
            (None, c) => word.push(c),
        }
    }
    if let Some(open) = quote {
        return Err(open);
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn lines_are_split_as_sbatch_splits_them() {
        let cases: [(&str, &[&str]); 12] = [
            (r#" --job-name="a b" -t5"#, &["--job-name=a b", "-t5"]),
            ("\t-t\t5 ", &["-t", "5"]),
            (r#"--comment=a"b c"d"#, &["--comment=ab cd"]),
            ("--mem=2G#foo", &["--mem=2G"]),
            (r##"--comment="#x" -t 5"##, &["--comment=#x", "-t", "5"]),
            (r"-J a\b", &["-J", "ab"]),
            (r#"-J "a\"b""#, &["-J", "a\"b"]),
            (r"-t 5 \", &["-t", "5"]),
            ("-J ''", &["-J"]),
            ("-J $HOME;ls", &["-J", "$HOME;ls"]),
            ("", &[]),
            ("# all of it", &[]),
        ];
        for (text, words) in cases {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        assert_eq!(split("-J \"x"), Err('"'));
        assert_eq!(split(r"-J 'a\'"), Err('\''));
    }

    proptest::proptest! {
        #[test]
        fn a_quoted_word_comes_back(word in "[a-zA-Z =,#%\"'é-]{1,20}") {
            let mut quoted = String::from("\"");
            for c in word.chars() {
                if c == '"' {
                    quoted.push('\\');
                }
                quoted.push(c);
            }
            quoted.push('"');
            proptest::prop_assert_eq!(split(&quoted).unwrap(), vec![word]);
        }
    }
}
