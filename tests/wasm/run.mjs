// Runs a program that was compiled for wasm32-unknown-unknown: node run.mjs PROGRAM.wasm
import { readFileSync } from "node:fs";

const { instance } = await WebAssembly.instantiate(readFileSync(process.argv[2]), {});
instance.exports.main(0, 0); // a panic is a trap, which throws an error here
console.log("every assertion held");
