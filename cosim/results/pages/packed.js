/* Numbers that the page holds in few bytes, as packing.py has packed them. */
async function unpack(p) {
  const zipped = Uint8Array.from(atob(p.data), (c) => c.charCodeAt(0));
  const stream = new Blob([zipped]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const n = p.rows * p.columns, out = new Float64Array(n), scale = 10 ** p.digits;
  for (let r = 0, i = 0; r < p.rows; r++) {
    for (let c = 0, v = 0; c < p.columns; c++, i++) {
      v = (v + (bytes[i] | (bytes[n + i] << 8) | (bytes[2 * n + i] << 16) | (bytes[3 * n + i] << 24))) | 0;
      out[i] = v === -2147483648 ? NaN : v / scale;
    }
  }
  return { rows: p.rows, columns: p.columns, digits: p.digits, values: out };
}
