//! JSON (RFC 8259) to a raw configuration, with the place and the kind of whatever does not fit.
//!
//! Why: a finding needs its path, its kind and the certainty that no secret is in its words. A
//! reader of our own knows all three where they arise, and is a third of the size of a general one
//! in every VM.
//! Limits: nesting ends at 64; a number is read as the type that wants it; the first finding ends
//! it.

mod error;
mod lexer;

use alloc::{collections::BTreeMap, format, string::String};
use core::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, MapAccess, SeqAccess,
        Unexpected, VariantAccess, Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};

use self::{error::ShapeError, lexer::Lexer};
use super::Problem;

/// Is how deep brackets may be nested. More would let a text of brackets use up the stack.
const MAX_DEPTH: u32 = 64;

/// Reads JSON into a raw configuration, or says where and why not.
///
/// `secret_path` begins the paths whose content is never shown (`$.keys`); empty hides nothing. A
/// string that stands where something else was expected is never shown either: it may be a whole
/// configuration, quoted once too often, with keys in it.
///
/// # Errors
/// Not JSON: `json-syntax`, with line and column.
/// JSON of another shape: `field-unknown`, `field-missing`, `field-duplicate`, `value-unknown` or
/// `type-mismatch`. Only the first is found.
pub fn from_json<T: DeserializeOwned>(text: &str, secret_path: &str) -> Result<T, Problem> {
    let mut reader = Reader {
        lexer: Lexer::new(text),
        depth: 0,
    };
    let value = T::deserialize(&mut reader).and_then(|value| {
        reader.lexer.end()?;
        Ok(value)
    });
    value.map_err(|error| error.into_problem(text, secret_path))
}

/// Reads one value after the other.
struct Reader<'t> {
    lexer: Lexer<'t>,
    depth: u32,
}

impl Reader<'_> {
    /// Goes into an array or an object that `open` begins.
    fn descend(&mut self) -> Result<(), ShapeError> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > MAX_DEPTH {
            return Err(self.lexer.syntax("brackets are nested too deeply"));
        }
        self.lexer.skip();
        Ok(())
    }

    /// Says that another type was expected, and what is there.
    fn mismatch<'v, V: Visitor<'v>>(&mut self, visitor: &V) -> ShapeError {
        match self.lexer.peek() {
            Some(b'{') => ShapeError::invalid_type(Unexpected::Map, visitor),
            Some(b'[') => ShapeError::invalid_type(Unexpected::Seq, visitor),
            Some(b'"') => ShapeError::invalid_type(Unexpected::Str(""), visitor),
            Some(b't' | b'f') => match self.lexer.boolean() {
                Ok(value) => ShapeError::invalid_type(Unexpected::Bool(value), visitor),
                Err(error) => error,
            },
            Some(b'n') => match self.lexer.word("null") {
                Ok(()) => ShapeError::invalid_type(Unexpected::Unit, visitor),
                Err(error) => error,
            },
            _ => match self.lexer.number() {
                Ok(number) => ShapeError::invalid_type(Unexpected::Other(number), visitor),
                Err(error) => error,
            },
        }
    }

    /// Reads a number as the type that is wanted.
    fn number<'v, V: Visitor<'v>, N: core::str::FromStr>(
        &mut self,
        visitor: &V,
    ) -> Result<N, ShapeError> {
        if !matches!(self.lexer.peek(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.mismatch(visitor));
        }
        let text = self.lexer.number()?;
        text.parse()
            .map_err(|_| ShapeError::invalid_value(Unexpected::Other(text), visitor))
    }
}

/// Reads numbers of one type.
macro_rules! numbers {
    ($($method:ident $visit:ident,)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
                let number = self.number(&visitor)?;
                visitor.$visit(number)
            }
        )*
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'_> {
    type Error = ShapeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        Err(self.mismatch(&visitor))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.lexer.peek() {
            Some(b't' | b'f') => visitor.visit_bool(self.lexer.boolean()?),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    numbers! {
        deserialize_u8 visit_u8,
        deserialize_u16 visit_u16,
        deserialize_u32 visit_u32,
        deserialize_u64 visit_u64,
        deserialize_i8 visit_i8,
        deserialize_i16 visit_i16,
        deserialize_i32 visit_i32,
        deserialize_i64 visit_i64,
        deserialize_f32 visit_f32,
        deserialize_f64 visit_f64,
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.lexer.peek() {
            Some(b'"') => visitor.visit_string(self.lexer.string()?),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        if self.lexer.peek() == Some(b'n') {
            self.lexer.word("null")?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        if self.lexer.peek() != Some(b'[') {
            return Err(self.mismatch(&visitor));
        }
        self.descend()?;
        let value = visitor.visit_seq(Items {
            reader: self,
            index: None,
        })?;
        self.depth = self.depth.saturating_sub(1);
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        if self.lexer.peek() != Some(b'{') {
            return Err(self.mismatch(&visitor));
        }
        self.descend()?;
        let value = visitor.visit_map(Fields {
            reader: self,
            key: None,
        })?;
        self.depth = self.depth.saturating_sub(1);
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        self.deserialize_map(visitor)
    }

    /// An enum is a string, or an object with one field that is named like the variant.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        match self.lexer.peek() {
            Some(b'"') => {
                let name = self.lexer.string()?;
                visitor.visit_enum(StrDeserializer::new(&name))
            }
            Some(b'{') => {
                self.descend()?;
                let name = self.lexer.key()?;
                let value = visitor.visit_enum(Variant { reader: self, name })?;
                if self.lexer.peek() != Some(b'}') {
                    return Err(ShapeError::custom("must have exactly one field, got more"));
                }
                self.lexer.skip();
                self.depth = self.depth.saturating_sub(1);
                Ok(value)
            }
            _ => Err(self.mismatch(&visitor)),
        }
    }

    /// Goes over a value of any shape.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.lexer.peek() {
            Some(b'{') => self.deserialize_map(visitor),
            Some(b'[') => self.deserialize_seq(visitor),
            Some(b'"') => self.deserialize_string(visitor),
            Some(b't' | b'f') => self.deserialize_bool(visitor),
            Some(b'n') => {
                self.lexer.word("null")?;
                visitor.visit_unit()
            }
            _ => {
                self.lexer.number()?;
                visitor.visit_unit()
            }
        }
    }

    forward_to_deserialize_any! { char bytes byte_buf unit unit_struct tuple tuple_struct }
}

/// Reads the items of an array whose bracket is behind us.
struct Items<'r, 't> {
    reader: &'r mut Reader<'t>,
    /// Is the position of the last item.
    index: Option<usize>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = ShapeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ShapeError> {
        if !self.reader.lexer.next_member(b']', self.index.is_none())? {
            return Ok(None);
        }
        let index = self.index.map_or(0, |index| index.saturating_add(1));
        self.index = Some(index);
        seed.deserialize(&mut *self.reader)
            .map(Some)
            .map_err(|error| error.inside_index(index))
    }
}

/// Reads the fields of an object whose bracket is behind us.
struct Fields<'r, 't> {
    reader: &'r mut Reader<'t>,
    /// Is the last field's name.
    key: Option<String>,
}

impl<'de> MapAccess<'de> for Fields<'_, '_> {
    type Error = ShapeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ShapeError> {
        if !self.reader.lexer.next_member(b'}', self.key.is_none())? {
            return Ok(None);
        }
        let key = self.reader.lexer.key()?;
        let value = seed.deserialize(StrDeserializer::new(&key)).map(Some);
        self.key = Some(key);
        value
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, ShapeError> {
        let key = self.key.as_deref().unwrap_or_default();
        seed.deserialize(&mut *self.reader)
            .map_err(|error| error.inside_field(key))
    }
}

/// Reads an enum's variant that has content.
struct Variant<'r, 't> {
    reader: &'r mut Reader<'t>,
    name: String,
}

impl<'de> EnumAccess<'de> for Variant<'_, '_> {
    type Error = ShapeError;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self), ShapeError> {
        let value = seed.deserialize(StrDeserializer::new(&self.name))?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_> {
    type Error = ShapeError;

    fn unit_variant(self) -> Result<(), ShapeError> {
        Err(ShapeError::invalid_type(Unexpected::Map, &"a string"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, ShapeError> {
        seed.deserialize(self.reader)
            .map_err(|error| error.inside_field(&self.name))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        self.reader
            .deserialize_seq(visitor)
            .map_err(|error| error.inside_field(&self.name))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        self.reader
            .deserialize_map(visitor)
            .map_err(|error| error.inside_field(&self.name))
    }
}

/// Reads a map whose keys are all different; serde alone lets the last of two win silently.
///
/// Use it as `#[serde(deserialize_with = "unique_map")]`.
///
/// # Errors
/// A key that is there twice, as a `duplicate` message of the deserializer.
pub fn unique_map<'de, D, V>(deserializer: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    struct Unique<V>(PhantomData<V>);

    impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some(key) = access.next_key::<String>()? {
                let value = access.next_value()?;
                if map.insert(key, value).is_some() {
                    return Err(A::Error::duplicate_field("key"));
                }
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(Unique(PhantomData))
}

/// Writes a string as JSON.
pub fn write_json_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0'..='\x1f' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests;
