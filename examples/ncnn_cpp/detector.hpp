// A detector of two ncnn networks, as mmthunder/runtime/ncnn_session.py.
#pragma once

#include <chrono>
#include <fstream>
#include <net.h>  // ncnn

#include "preprocessing.hpp"
#include "two_stage.hpp"

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RPN, base_anchors, stride, means, stds, nms_pre, max_per_img, iou_threshold,
                                   min_bbox_size)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PSRoIAlign, output_size, spatial_scale, min_size, sampling_ratio, pool_mode, aligned)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Head, means, stds)

using Clock = std::chrono::steady_clock;
struct Detector {
    json settings, metadata;
    Preprocessing preprocessing;
    RPN rpn;
    PSRoIAlign ps_roi_align;
    Head head;
    ncnn::Net features_net, head_net;

    // Load detector.json and the networks beside it.
    explicit Detector(const std::filesystem::path& path) {
        std::ifstream file(path);
        if (!file) throw std::domain_error("no such file; tools/deployment/export_ncnn.py writes it");
        settings = json::parse(file);
        metadata = settings.at("metadata");
        look_up(metadata, "format", {{"mmthunder detector 2", 0}});
        preprocessing.steps = metadata.at("pipeline");
        if (settings.at("rpn").at("nms_pre").is_null()) settings["rpn"]["nms_pre"] = INT_MAX;
        rpn = settings["rpn"], ps_roi_align = settings.at("ps_roi_align"), head = settings.at("head");
        for (auto [net, name] : {std::pair(&features_net, "features"), std::pair(&head_net, "head")}) {
            // The same numbers on every processor; on ARM 8.2 a program of your own may leave FP16 on.
            net->opt.use_fp16_packed = net->opt.use_fp16_storage = net->opt.use_fp16_arithmetic = false;
            net->opt.use_bf16_storage = false;
            net->opt.num_threads = 1;
            const std::string stem = (path.parent_path() / name).string();
            if (net->load_param((stem + ".param").c_str()) || net->load_model((stem + ".bin").c_str()))
                throw std::domain_error(stem + ".param or .bin is missing or cannot be read");
        }
    }

    // Normalize a preprocessed image and pad it at the right and the bottom.
    ncnn::Mat normalize(const cv::Mat& image) const {
        const json& options = settings.at("preprocess");
        const cv::Size size = Preprocessing::multiple(image.size(), options.at("pad_size_divisor"));
        ncnn::Mat result(size.width, size.height, image.channels());
        result.fill(options.at("pad_value").get<float>());
        for (int c = 0; c < result.c; c++) {
            const double mean = options.at("mean").at(c), std = options.at("std").at(c);
            cv::Mat plane, inside = cv::Mat(size, CV_32F, result.channel(c))(cv::Rect({}, image.size()));
            cv::extractChannel(image, plane, options.at("bgr_to_rgb").get<bool>() ? result.c - 1 - c : c);
            plane.convertTo(inside, CV_32F, 1 / std, -mean / std);
        }
        return result;
    }

    static std::vector<ncnn::Mat> run(const ncnn::Net& net, const ncnn::Mat& input, int outputs) {
        ncnn::Extractor extractor = net.create_extractor();
        std::vector<ncnn::Mat> results(outputs);
        extractor.input("in0", input);
        for (int i = 0; i < outputs; i++)
            if (extractor.extract(("out" + std::to_string(i)).c_str(), results[i]))
                throw std::domain_error("ncnn cannot run the networks beside it");
        return results;
    }

    // Detect objects in an image that Preprocessing::read gave, in pixels of it; ends are the times when steps end.
    std::vector<Detection> operator()(const cv::Mat& image, std::vector<Clock::time_point>& ends) const {
        const auto check = [](bool fits, const char* key) {
            if (!fits) throw std::domain_error(std::string(key) + " does not fit the networks; export them again");
        };
        cv::Vec2d factors;
        const cv::Mat resized = preprocessing(image, factors);
        check(settings.at("input_shape") == json{1, resized.rows, resized.cols, resized.channels()}, "pipeline");
        const float limits[] = {float(resized.cols), float(resized.rows)};
        const ncnn::Mat input = normalize(resized);
        ends.push_back(Clock::now());
        const auto maps = run(features_net, input, 3);
        ends.push_back(Clock::now());
        check(maps[0].c % (ps_roi_align.output_size[0] * ps_roi_align.output_size[1]) == 0, "output_size");
        check(maps[1].c == int(rpn.base_anchors.size()) && maps[2].c == 4 * maps[1].c, "base_anchors");
        const auto proposals = rpn.propose(maps[1], maps[2], limits);
        ends.push_back(Clock::now());
        if (proposals.empty()) return {};
        const ncnn::Mat pooled = ps_roi_align(maps[0], proposals);
        ends.push_back(Clock::now());
        const auto outputs = run(head_net, pooled, 2);
        ends.push_back(Clock::now());
        check(outputs[0].w == int(metadata.at("classes").size()) + 1, "classes");
        auto found = head.score(proposals, outputs[0], outputs[1], limits, metadata.at("score_thr"));
        const int max_per_img = metadata.at("max_per_img");
        found = nms(found, metadata.at("nms").at("iou_threshold"), max_per_img > 0 ? max_per_img : found.size());
        for (Detection& detection : found)
            for (int k = 0; k < 4; k++) detection.box[k] *= float(1 / factors[k % 2]);
        ends.push_back(Clock::now());
        return found;
    }
};
