//! RTF as tokens: groups, control words, control symbols and bytes of text. Escaped bytes are bytes already, and what a
//! `\bin` announces is passed over here, so that its braces are nobody's.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Open,
    Close,
    Word(&'a [u8], Option<i32>),
    Symbol(u8),
    Byte(u8),
}

pub(super) struct Lexer<'a> {
    rest: &'a [u8],
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(rtf: &'a [u8]) -> Self {
        Self { rest: rtf }
    }

    /// Behind a backslash. `None` at the end of the document.
    fn control(&mut self) -> Option<Token<'a>> {
        let first = *self.rest.first()?;
        if first.is_ascii_alphabetic() {
            return Some(self.word());
        }
        self.skip(1);
        if first != b'\'' {
            return Some(Token::Symbol(first));
        }
        let digit = |at: usize| self.rest.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let byte = digit(0).zip(digit(1)).and_then(|(high, low)| u8::try_from(high << 4 | low).ok());
        let Some(byte) = byte else { return Some(Token::Symbol(first)) };
        self.skip(2);
        Some(Token::Byte(byte))
    }

    fn word(&mut self) -> Token<'a> {
        let word = self.take_while(u8::is_ascii_alphabetic);
        let negative = self.rest.first() == Some(&b'-') && self.rest.get(1).is_some_and(u8::is_ascii_digit);
        self.skip(usize::from(negative));
        let digits = self.take_while(u8::is_ascii_digit);
        let value = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<i32>().ok());
        let value = value.map(|value| if negative { -value } else { value });
        if self.rest.first() == Some(&b' ') {
            self.skip(1);
        }
        if let (b"bin", Some(length)) = (word, value) {
            self.skip(usize::try_from(length).unwrap_or_default());
        }
        Token::Word(word, value)
    }

    fn take_while(&mut self, belongs: fn(&u8) -> bool) -> &'a [u8] {
        let length = self.rest.iter().position(|byte| !belongs(byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or_default();
        self.rest = rest;
        taken
    }

    fn skip(&mut self, length: usize) {
        self.rest = self.rest.get(length..).unwrap_or_default();
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let (first, rest) = self.rest.split_first()?;
            self.rest = rest;
            return match first {
                b'{' => Some(Token::Open),
                b'}' => Some(Token::Close),
                b'\\' => self.control(),
                b'\r' | b'\n' => continue,
                byte => Some(Token::Byte(*byte)),
            };
        }
    }
}
