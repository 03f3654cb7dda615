/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CODEC_CODEC_H
#define CODEC_CODEC_H

/**
 * enum codec_result - what a parser says about the bytes so far
 * @CODEC_MORE:		they are a proper beginning; more are needed
 * @CODEC_DONE:		complete; the result is filled in
 * @CODEC_OTHER:	no further byte can make them this protocol
 * @CODEC_BAD:		this protocol, but malformed or over a limit
 *
 * All but MORE are final: more bytes behind the same ones never change the answer, and it does
 * not depend on the portions in which they came.  The result means something only on DONE;
 * after a final answer the state is spent.
 */
enum codec_result {
	CODEC_MORE,
	CODEC_DONE,
	CODEC_OTHER,
	CODEC_BAD,
};

#endif
