// SPDX-License-Identifier: Apache-2.0
// Draws a posed linear rig with WebGL2: textures in, one picture out.

import { unit } from "./quat.js";
import { Refusal } from "./refusal.js";
import { BATCH, FULL_SCREEN, ROW, drawFragment, drawVertex, pose, roomFragment } from "./shaders.js";

const PLAIN = [0.14, 0.153, 0.169, 1]; // behind the head where neither the room is shown nor nothing

// The canvas' WebGL2, or a refusal in words.
export function context(canvas) {
  const gl = canvas.getContext("webgl2", { antialias: false, alpha: true, preserveDrawingBuffer: true });
  if (gl?.getExtension("EXT_color_buffer_float")) return gl;
  throw new Refusal(
    "This browser cannot draw in 3D: it offers no WebGL2.",
    "Use a current Chrome, Edge, Firefox or Safari, and switch hardware acceleration on in its settings.",
  );
}

export class SplatPainter {
  // splats: means, skin, quats, scales, opacities, colours, tables [K,N,9] as Float32Array, and components (K);
  // blur: what the trainer adds to every splat's variance, in its own pixels squared
  constructor(gl, splats, blur) {
    const { components } = splats;
    this.gl = gl;
    this.blur = blur;
    this.textures = [];
    this.count = splats.skin.length;
    this.rows = Math.ceil(this.count / ROW);
    this.posing = this.#program(FULL_SCREEN, pose(components, this.rows));
    this.drawing = this.#program(drawVertex, drawFragment);
    this.room = this.#program(FULL_SCREEN, roomFragment);
    this.#upload(splats, components);
    this.posed = [0, 1, 2].map(() => this.#texture(ROW, this.rows, gl.RGBA32F, gl.RGBA, gl.FLOAT, null));
    this.target = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    const slots = this.posed.map((texture, i) => {
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0 + i, gl.TEXTURE_2D, texture, 0);
      return gl.COLOR_ATTACHMENT0 + i;
    });
    gl.drawBuffers(slots);
    this.order = this.#texture(ROW, this.rows, gl.R32UI, gl.RED_INTEGER, gl.UNSIGNED_INT, null);
    this.picture = this.#texture(1, 1, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, null);
  }

  // Gives back what the graphics card holds.
  dispose() { for (const texture of this.textures) this.gl.deleteTexture(texture); }

  setRoom(image) {
    const { gl } = this;
    gl.bindTexture(gl.TEXTURE_2D, this.picture);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, image);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.LINEAR);
  }

  // code [K]; head and body: world_from_part as (wxyz, xyz); camera: { camFromWorld (row-major 16), focal, middle, size
  // (trainer's pixels), enlarged }; run before `draw`
  pose(code, head, body, camera) {
    const { gl, posing } = this;
    const zoom = gl.canvas.width / camera.size[0];
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target);
    gl.viewport(0, 0, ROW, this.rows);
    gl.disable(gl.BLEND);
    gl.useProgram(posing.program);
    posing.textures({ means: this.means, quats: this.quats, scales: this.scales, colours: this.colours, tables: this.tables });
    gl.uniform1fv(posing.at("code"), code);
    gl.uniform4fv(posing.at("headQuat"), unit(head.slice(0, 4)));
    gl.uniform4fv(posing.at("bodyQuat"), unit(body.slice(0, 4)));
    gl.uniform3fv(posing.at("headShift"), head.slice(4, 7));
    gl.uniform3fv(posing.at("bodyShift"), body.slice(4, 7));
    gl.uniformMatrix4fv(posing.at("camFromWorld"), true, camera.camFromWorld);
    // the blur grows with the picture: splats that just touch at the trainer's size must not part when enlarged
    gl.uniform1f(posing.at("blur"), this.blur * Math.max(1, zoom * camera.enlarged) ** 2);
    gl.uniform2fv(posing.at("focal"), camera.focal.map((f) => f * zoom));
    gl.uniform2fv(posing.at("middle"), camera.middle.map((c) => c * zoom));
    gl.uniform2f(posing.at("size"), gl.canvas.width, gl.canvas.height);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  // order: splats far to near; behind: "room", "plain" or "nothing"
  draw(order, behind) {
    const { gl, drawing } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, gl.canvas.width, gl.canvas.height);
    gl.disable(gl.BLEND);
    this.#behind(behind);
    gl.bindTexture(gl.TEXTURE_2D, this.order);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, ROW, this.rows, gl.RED_INTEGER, gl.UNSIGNED_INT, order);
    gl.useProgram(drawing.program);
    const [places, axes, colours] = this.posed;
    drawing.textures({ places, axes, colours, order: this.order });
    gl.uniform2f(drawing.at("size"), gl.canvas.width, gl.canvas.height);
    gl.uniform1i(drawing.at("count"), this.count);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArraysInstanced(gl.TRIANGLES, 0, 6 * BATCH, Math.ceil(this.count / BATCH));
  }

  #behind(what) {
    const { gl, room } = this;
    gl.clearColor(...(what === "plain" ? PLAIN : [0, 0, 0, 0]));
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (what !== "room") return;
    gl.useProgram(room.program);
    room.textures({ room: this.picture });
    gl.uniform2f(room.at("canvas"), gl.canvas.width, gl.canvas.height);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  #upload({ means, skin, quats, scales, opacities, colours, tables }, components) {
    const { gl } = this;
    const floats = (fill) => {
      const texels = new Float32Array(ROW * this.rows * 4);
      for (let i = 0; i < this.count; i++) texels.set(fill(i), 4 * i);
      return this.#texture(ROW, this.rows, gl.RGBA32F, gl.RGBA, gl.FLOAT, texels);
    };
    this.means = floats((i) => [means[3 * i], means[3 * i + 1], means[3 * i + 2], skin[i]]);
    this.quats = floats((i) => quats.subarray(4 * i, 4 * i + 4));
    this.scales = floats((i) => [scales[3 * i], scales[3 * i + 1], scales[3 * i + 2], opacities[i]]);
    this.colours = floats((i) => [colours[3 * i], colours[3 * i + 1], colours[3 * i + 2], 1]);
    const width = ROW * 3;
    const padded = new Float32Array(width * this.rows * components * 4); // the GPU keeps halves of it
    for (let k = 0; k < components; k++) {
      for (let i = 0; i < this.count; i++) {
        const texel = width * (k * this.rows + Math.floor(i / ROW)) + 3 * (i % ROW);
        const start = 9 * (k * this.count + i);
        padded.set(tables.subarray(start, start + 9), 4 * texel);
      }
    }
    this.tables = this.#texture(width, this.rows * components, gl.RGBA16F, gl.RGBA, gl.FLOAT, padded);
  }

  #texture(width, height, inner, format, type, data) {
    const { gl } = this;
    const texture = gl.createTexture();
    this.textures.push(texture);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, inner, width, height, 0, format, type, data);
    for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, name, gl.NEAREST);
    for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, name, gl.CLAMP_TO_EDGE);
    return texture;
  }

  #program(vertex, fragment) {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    const places = new Map();
    const at = (name) => {
      if (!places.has(name)) places.set(name, gl.getUniformLocation(program, name));
      return places.get(name);
    };
    const textures = (named) => Object.entries(named).forEach(([name, texture], unit_) => {
      gl.activeTexture(gl.TEXTURE0 + unit_);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.uniform1i(at(name), unit_);
    });
    return { program, at, textures };
  }
}
