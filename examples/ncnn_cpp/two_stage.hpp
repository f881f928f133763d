// The steps between and after the networks, as mmthunder/runtime/two_stage.py; members have detector.json's names.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>
#include <mat.h>  // ncnn

using Box = std::array<float, 4>;  // x1, y1, x2, y2 in pixels

struct Detection {
    Box box;
    float score;
    int label;
    bool operator<(const Detection& other) const { return score > other.score; }  // the order of results
};

// Apply normalized deltas to a box and clip the result to an image; limits are its width and height.
inline Box decode(const Box& box, const Box& deltas, const Box& means, const Box& stds, const float limits[2]) {
    static const float max_log_ratio = std::abs(std::log(16.0 / 1000.0));  // mmdet's wh_ratio_clip
    Box result;
    for (int axis = 0; axis < 2; axis++) {
        float size = box[axis + 2] - box[axis];
        const float center = (box[axis + 2] + box[axis]) / 2 + size * (deltas[axis] * stds[axis] + means[axis]);
        const float log_ratio = deltas[axis + 2] * stds[axis + 2] + means[axis + 2];
        size *= std::exp(std::clamp(log_ratio, -max_log_ratio, max_log_ratio));
        result[axis] = std::clamp(center - size / 2, 0.0f, limits[axis]);
        result[axis + 2] = std::clamp(center + size / 2, 0.0f, limits[axis]);
    }
    return result;
}

// The best detections of those that overlap others of their label, in descending order of scores.
inline std::vector<Detection> nms(std::vector<Detection> candidates, float iou_threshold, size_t max_boxes) {
    const auto overlap = [=](const auto& a, const auto& b) {
        const float width = std::max(std::min(a[2], b[2]) - std::max(a[0], b[0]), 0.0f);
        const float intersection = width * std::max(std::min(a[3], b[3]) - std::max(a[1], b[1]), 0.0f);
        const float areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]);
        return intersection > iou_threshold * (areas - intersection);
    };
    std::stable_sort(candidates.begin(), candidates.end());
    std::vector<Detection> kept;
    for (const Detection& d : candidates) {
        if (kept.size() == max_boxes) break;
        const auto covers = [&](const Detection& k) { return k.label == d.label && overlap(k.box, d.box); };
        if (std::none_of(kept.begin(), kept.end(), covers)) kept.push_back(d);
    }
    return kept;
}

struct RPN {
    std::vector<Box> base_anchors;
    std::array<float, 2> stride;  // along x and y
    Box means, stds;
    int nms_pre, max_per_img;
    float iou_threshold, min_bbox_size;

    // Proposals of objectness logits (A, H, W) and deltas (4A, H, W).
    std::vector<Detection> propose(const ncnn::Mat& logits, const ncnn::Mat& deltas, const float limits[2]) const {
        std::vector<Detection> all, large;
        for (int i = 0; i < logits.w * logits.h * logits.c; i++)
            all.push_back({{}, logits.channel(i % logits.c)[i / logits.c], i});
        std::stable_sort(all.begin(), all.end());
        all.resize(std::min(all.size(), size_t(nms_pre)));
        for (auto& [box, score, i] : all) {
            const int a = i % logits.c, cell = i / logits.c;
            Box anchor = base_anchors[a], delta;
            for (int k = 0; k < 4; k++) {
                anchor[k] += k % 2 ? cell / logits.w * stride[1] : cell % logits.w * stride[0];
                delta[k] = deltas.channel(4 * a + k)[cell];
            }
            box = decode(anchor, delta, means, stds, limits);
            if (std::min(box[2] - box[0], box[3] - box[1]) > min_bbox_size) large.push_back({box, score, 0});
        }
        return nms(large, iou_threshold, max_per_img);
    }
};

struct PSRoIAlign {
    std::array<int, 2> output_size;  // bins along y and x
    float spatial_scale, min_size;
    int sampling_ratio;
    std::string pool_mode;
    bool aligned;

    static float interpolate(const ncnn::Mat& map, float y, float x) {
        if (y < -1 || y > map.h || x < -1 || x > map.w) return 0;
        y = std::clamp(y, 0.0f, map.h - 1.0f), x = std::clamp(x, 0.0f, map.w - 1.0f);
        const int left = int(x), right = std::min(left + 1, map.w - 1);
        const float *top = map.row(int(y)), *bottom = map.row(std::min(int(y) + 1, map.h - 1));
        const float v = y - int(y), u = x - left;
        return (1 - v) * ((1 - u) * top[left] + u * top[right]) + v * ((1 - u) * bottom[left] + u * bottom[right]);
    }

    // Features of boxes, one row each: every bin is pooled from its own channel of the map.
    ncnn::Mat operator()(const ncnn::Mat& map, const std::vector<Detection>& proposals) const {
        const auto [p_h, p_w] = output_size;
        const int s = sampling_ratio;
        std::vector<float> ys(p_h * s), xs(p_w * s);
        ncnn::Mat features(map.c, int(proposals.size()));
        for (int r = 0; r < features.h; r++) {
            Box box = proposals[r].box;
            for (float& side : box) side = side * spatial_scale - (aligned ? 0.5f : 0.0f);
            const float width = std::max(box[2] - box[0], min_size), height = std::max(box[3] - box[1], min_size);
            for (int i = 0; i < p_h * s; i++) ys[i] = box[1] + height * ((i + 0.5f) / (p_h * s));
            for (int i = 0; i < p_w * s; i++) xs[i] = box[0] + width * ((i + 0.5f) / (p_w * s));
            for (int c = 0; c < map.c; c++) {
                const ncnn::Mat channel = map.channel(c);
                const int row = c / p_w % p_h * s, column = c % p_w * s;
                float highest = -INFINITY, sum = 0;
                for (int i = 0; i < s; i++)
                    for (int j = 0; j < s; j++) {
                        const float value = interpolate(channel, ys[row + i], xs[column + j]);
                        highest = std::max(highest, value), sum += value;
                    }
                features.row(r)[c] = pool_mode == "max" ? highest : sum / (s * s);
            }
        }
        return features;
    }
};

struct Head {
    Box means, stds;

    // Refined boxes with scores above a threshold, of class logits (R, classes + 1) and deltas (R, 4 or 4 x classes).
    std::vector<Detection> score(const std::vector<Detection>& proposals, const ncnn::Mat& logits,
                                 const ncnn::Mat& deltas, const float limits[2], float score_thr) const {
        std::vector<Detection> found;
        for (int r = 0; r < logits.h; r++) {
            const float *logit = logits.row(r), *delta = deltas.row(r);
            const float highest = *std::max_element(logit, logit + logits.w);
            float sum = 0;
            for (int c = 0; c < logits.w; c++) sum += std::exp(logit[c] - highest);
            for (int c = 0; c < logits.w - 1; c++) {
                const float score = std::exp(logit[c] - highest) / sum, *d = delta + (deltas.w > 4 ? 4 * c : 0);
                if (score > score_thr) {
                    const Box box = decode(proposals[r].box, {d[0], d[1], d[2], d[3]}, means, stds, limits);
                    found.push_back({box, score, c});
                }
            }
        }
        return found;
    }
};
