//! Zstandard on whole buffers.
//!
//! Through `zstd-safe` without its default features: those of the `zstd` crate, which
//! `kafka-protocol` would bring, have RocksDB and librdkafka compiled a second time.

use zstd_safe::{DCtx, InBuffer, OutBuffer, compress_bound, get_error_name};

/// The level that Apache Kafka compresses with.
const LEVEL: i32 = 3;
/// Bytes that are decompressed at a time.
const STEP: usize = 64 * 1024;

/// Compresses a buffer into one frame.
pub(super) fn compress(plain: &[u8]) -> Result<Vec<u8>, String> {
    let mut frame = vec![0; compress_bound(plain.len())];
    let length = zstd_safe::compress(&mut frame[..], plain, LEVEL).map_err(text)?;
    frame.truncate(length);
    Ok(frame)
}

/// Decompresses whole frames; refuses more than `max` bytes, whatever the frames say.
pub(super) fn decompress(frames: &[u8], max: usize) -> Result<Vec<u8>, String> {
    let mut context = DCtx::try_create().ok_or("there is no memory for it")?;
    let mut input = InBuffer::around(frames);
    let (mut plain, mut step) = (Vec::new(), vec![0; STEP]);
    loop {
        let mut output = OutBuffer::around(&mut step[..]);
        let missing = context.decompress_stream(&mut output, &mut input).map_err(text)?;
        let written = output.pos();
        if plain.len() + written > max {
            return Err(format!("they are more than {max} bytes"));
        }
        plain.extend_from_slice(&step[..written]);
        let taken = input.pos == frames.len();
        if missing == 0 && taken {
            return Ok(plain);
        }
        if taken && written < STEP {
            return Err("the last frame is cut off".to_owned());
        }
    }
}

fn text(code: usize) -> String {
    get_error_name(code).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_back() {
        for length in [0, 1, STEP - 1, STEP, STEP + 1, 3 * STEP] {
            let plain: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let frame = compress(&plain).unwrap();
            assert_eq!(decompress(&frame, length), Ok(plain));
        }
    }

    #[test]
    fn a_frame_that_is_cut_off_damaged_or_too_large_is_refused() {
        let frame = compress(&vec![7; 2 * STEP]).unwrap();
        for length in 1..frame.len() {
            assert!(decompress(&frame[..length], usize::MAX).is_err(), "{length} bytes");
        }
        assert!(decompress(&frame, 2 * STEP - 1).is_err());
        assert!(decompress(b"no frame at all", usize::MAX).is_err());
    }
}
